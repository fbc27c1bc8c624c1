"""The tokenizer trained on the data: of any language, and the same for the same texts."""

import numpy as np
import pytest

from thrifty.data.encode import subwords
from thrifty.data.encode.subwords import num_tokens_of, train_tokenizer
from thrifty.data.encode.tokens import Tokens

TEXTS = [
    "The quick brown fox jumps over the lazy dog", "the quick answer", "北京是中国的首都",
    "上海不是中国的首都", "東京は日本の首都です",
    "Η Αθήνα είναι η πρωτεύουσα της Ελλάδας", "Η Ελλάδα", "हिन्दी में लिखा",
    "so good 😀😀", "bad 👩‍🚀 😡", "", " \n ", "a",
]  # fmt: skip


def encode(tokenizer: str, texts: list[object]) -> list[list[int]]:
    arrays, problems = Tokens(("t",), tokenizer).encode({"t": texts})
    assert not problems
    return [ids[: mask.sum()].tolist() for ids, mask in zip(arrays["ids"], arrays["mask"])]


def test_texts_of_every_language_have_tokens_even_letters_never_seen() -> None:
    tokenizer = train_tokenizer(TEXTS, 400)
    found = encode(tokenizer, [*TEXTS, "Привет, мир", "שלום", "🦜", "\ud800", 3.5])
    for text, ids in zip(TEXTS, found):
        assert bool(ids) == bool(text.strip())
    assert all(found[len(TEXTS) :])
    assert max(map(max, filter(None, found))) < num_tokens_of(tokenizer) <= 400


def test_nothing_and_missing_values_have_no_tokens() -> None:
    assert encode(train_tokenizer(TEXTS, 400), ["", None, float("nan"), " \t\n"]) == [[], [], [], []]


def test_frequent_words_and_runs_without_spaces_are_few_tokens() -> None:
    texts = ["the quick answer", "中国的首都"] * 20
    found = encode(train_tokenizer(texts, 1000), ["quick", "the quick", "中国的首都", "qkciu"])
    assert len(found[0]) == 1
    assert found[1][1:] == found[0]  # at the beginning and after a space
    assert len(found[2]) < 5
    assert len(found[3]) > 2


def test_case_width_and_kind_of_space_do_not_count() -> None:
    found = encode(train_tokenizer(TEXTS, 400), ["The quick  fox", "ＴＨＥ\tquick fox ", "the quick fox"])
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("texts", [[], ["", "  "]], ids=["none", "blank"])
def test_without_texts_there_are_the_single_bytes(texts: list[str]) -> None:
    tokenizer = train_tokenizer(texts, 500)
    assert num_tokens_of(tokenizer) == 257
    assert len(encode(tokenizer, ["ab"])[0]) == 3  # a space first


def test_the_same_texts_give_the_same_tokenizer() -> None:
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdef "), 40)) for _ in range(300)]
    assert train_tokenizer(texts, 600) == train_tokenizer(texts, 600)


def test_of_much_text_a_part_spread_over_all_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subwords, "MOST_CHARS", 1000)
    texts = ["common"] * 500 + ["later"] * 500
    found = encode(train_tokenizer(texts, 400), ["common", "later"])
    assert [len(ids) for ids in found] == [1, 1]
