import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thrifty.data.encode import tfidf
from thrifty.data.encode.ngrams import char_terms, corpus, normalise, word_terms
from thrifty.data.encode.text_statistics import STATISTICS, TextStatistics
from thrifty.data.encode.tfidf import Tfidf
from thrifty.data.encode.tokens import Tokens

TEXTS = [
    "The red fox, the RED fox!", "a blue sea", "", None, "今天天气很好", "今天下雨了", "नमस्ते दुनिया", "red 3.5 fox :)",
    "ﬁne ｗｉｄｅ", "a", "😀 😀 fox", "line\nbreaks\tand   spaces", 42, "\ud800 lone", "مرحبا بالعالم",
]  # fmt: skip


def terms_of(text: str, words: int, chars: int) -> list[set]:
    codes, starts = corpus([text])
    return [set(word_terms(codes, starts, words)[1].tolist()), set(char_terms(codes, starts, 2, chars)[1].tolist())]


def strings_of(text: str, words: int, chars: int) -> tuple[list[str], list[str]]:
    """The same terms as strings, for a text of plain words."""
    parts = text.lower().split()
    runs = [" ".join(parts[i : i + n]) for n in range(1, words + 1) for i in range(len(parts) - n + 1)]
    padded = [f" {part} " for part in parts]
    grams = [p[i : i + n] for p in padded for n in range(2, chars + 1) for i in range(len(p) - n + 1)]
    return runs, grams


@given(st.lists(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=8))
@settings(max_examples=50)
def test_terms_are_as_many_as_the_strings_they_stand_for(parts: list[str]) -> None:
    text = " ".join(parts)
    runs, grams = strings_of(text, 3, 5)
    words, chars = terms_of(text, 3, 5)
    assert len(words) == len(set(runs))
    assert len(chars) == len(set(grams))


def test_a_term_has_one_hash_wherever_it_stands() -> None:
    alone_words, alone_chars = terms_of("fox", 1, 4)
    in_words, in_chars = terms_of("the quick brown fox jumps", 1, 4)
    assert alone_words <= in_words
    assert alone_chars <= in_chars


def test_words_of_scripts_without_spaces_are_their_characters() -> None:
    today, rain = (terms_of(text, 2, 2)[0] for text in ("今天天气很好", "今天下雨了"))
    assert len(today & rain) == 3  # two characters and the pair of them
    assert len(terms_of("नमस्ते दुनिया", 1, 2)[0]) == 2


def test_case_width_and_spaces_do_not_matter() -> None:
    assert normalise("ﬁne  ＷＩＤＥ\n") == normalise("fine wide")


@given(st.lists(st.one_of(st.none(), st.text(max_size=30)), min_size=1, max_size=10))
@settings(max_examples=60, deadline=None)
def test_any_text_gives_the_same_weights_alone_as_in_a_batch(texts: list) -> None:
    columns = {"t": texts}
    encoder, rows = Tfidf.fit_encode(columns, ["t"], words=2, chars=4, min_rows=1)
    again = encoder.encode_sparse(columns)
    assert rows.indices.tolist() == again.indices.tolist()
    np.testing.assert_allclose(rows.values, again.values, rtol=1e-5)
    for row in range(len(texts)):
        alone = encoder.encode_sparse({"t": texts[row : row + 1]})
        here = slice(rows.indptr[row], rows.indptr[row + 1])
        assert alone.indices.tolist() == rows.indices[here].tolist()
        np.testing.assert_allclose(alone.values, rows.values[here], rtol=1e-5)


def test_weights_are_those_of_scikit_learn() -> None:
    sklearn = pytest.importorskip("sklearn.feature_extraction.text")
    texts = ["red fox and red sea", "blue sea", "old tree and fox", "red tree tree tree"] * 2
    encoder = Tfidf.fit({"t": texts}, ["t"], words=2, chars=0, min_rows=2)
    ours = encoder.encode_sparse({"t": texts}).dense()
    vectorizer = sklearn.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    theirs = vectorizer.fit_transform(texts).toarray()
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-5)


def test_padded_rows_hold_what_sparse_rows_hold_and_state_survives() -> None:
    columns = {"t": TEXTS * 3}
    fitted = Tfidf.fit(columns, ["t"], max_features=60)
    encoder = Tfidf.from_json(json.loads(json.dumps(fitted.to_json())), fitted.state())
    assert encoder.num_columns <= 60
    rows = encoder.encode_sparse(columns)
    arrays, _ = encoder.encode(columns)
    dense = np.zeros((len(rows), encoder.num_columns), np.float32)
    for row, (indices, weights) in enumerate(zip(arrays["indices"], arrays["weights"])):
        np.add.at(dense[row], indices, weights)
    np.testing.assert_array_equal(dense, rows.dense())
    picked = rows.take(np.array([4, 0, 2]))
    np.testing.assert_array_equal(picked.dense(), rows.dense()[[4, 0, 2]])
    norms = np.linalg.norm(rows.dense()[:, : encoder.num_words], axis=1)
    assert set(np.round(norms, 4).tolist()) <= {0.0, 1.0}


def test_a_corpus_in_several_parts_and_threads_is_as_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"word{i % 7} other{i % 5} thing" for i in range(300)]
    encoder, rows = Tfidf.fit_encode({"t": texts}, ["t"])
    parts_of = tfidf.parts_of
    monkeypatch.setattr(tfidf, "parts_of", lambda texts: parts_of(texts, 500))
    in_parts, rows_in_parts = Tfidf.fit_encode({"t": texts}, ["t"], threads=2)
    np.testing.assert_array_equal(encoder.keys, in_parts.keys)
    np.testing.assert_array_equal(rows.dense(), rows_in_parts.dense())


def test_many_hashes_are_found_as_few_are() -> None:
    from thrifty.data.encode.tfidf import _Lookup

    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(0, 1 << 32, 5000, dtype=np.uint32) >> np.uint32(3))
    hashes = np.concatenate([rng.choice(keys, 30_000), rng.integers(0, 1 << 32, 30_000, dtype=np.uint32)])
    columns, hits = _Lookup(keys, 7).find(hashes)
    expected = np.flatnonzero(np.isin(hashes, keys))
    order = np.argsort(hits)
    np.testing.assert_array_equal(hits[order], expected)
    np.testing.assert_array_equal(columns[order], np.searchsorted(keys, hashes[expected]) + 7)


def test_the_terms_of_a_large_corpus_are_of_all_texts_though_classes_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = ["apple pear" if row % 2 else "river stone" for row in range(600)]
    monkeypatch.setattr(tfidf, "_FIT_CHARS", sum(map(len, texts)) // 2)
    encoder = Tfidf.fit({"t": texts}, ("t",), words=1, chars=0)
    assert np.diff(encoder.encode_sparse({"t": ["apple pear", "river stone"]}).indptr).tolist() == [2, 2]


def test_no_texts_and_texts_without_terms_are_empty_rows() -> None:
    encoder = Tfidf.fit({"t": ["", None]}, ["t"])
    assert encoder.num_columns == 0
    arrays, _ = encoder.encode({"t": ["fox", None]})
    assert arrays["weights"].shape == (2, 1)
    assert not arrays["weights"].any()


def test_several_columns_are_one_text() -> None:
    columns = {"a": ["red fox"] * 3, "b": ["blue sea", None, "blue sea"]}
    encoder = Tfidf.fit(columns, ["a", "b"])
    joined = encoder.encode_sparse({"a": ["red fox blue sea"], "b": [None]}).dense()
    np.testing.assert_allclose(encoder.encode_sparse(columns).dense()[0], joined[0])


def test_statistics_count_what_they_say() -> None:
    values = TextStatistics(("t",)).encode({"t": [*TEXTS, "Ab 12! ?"]})[0]["values"]
    assert values.shape == (len(TEXTS) + 1, len(STATISTICS))
    assert np.isfinite(values).all()
    last = dict(zip(STATISTICS, values[-1].tolist()))
    assert last["log_chars"] == pytest.approx(np.log1p(8))
    assert last["log_words"] == pytest.approx(np.log1p(3))
    assert last["digit_share"] == 0.25
    assert last["starts_upper"] == 1
    assert last["exclamations"] == last["questions"] == pytest.approx(np.log1p(1))
    assert values[2][0] == values[3][0] == 1
    alone = TextStatistics(("t",)).encode({"t": TEXTS[4:5]})[0]["values"]
    np.testing.assert_allclose(alone[0], values[4], rtol=1e-6)


def tokenizer_text() -> str:
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {"[UNK]": 0, "red": 1, "fox": 2, "sea": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str()


def test_tokens_are_padded_to_the_longest_row_and_cut() -> None:
    encoder = Tokens(("t",), tokenizer_text(), max_length=3)
    for threads in (1, 2):
        arrays, _ = encoder.encode({"t": ["red fox", None, "sea sea sea sea sea", "new"]}, threads)
        assert arrays["ids"].tolist() == [[1, 2, 0], [0, 0, 0], [3, 3, 3], [0, 0, 0]]
        assert arrays["mask"].tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1], [1, 0, 0]]
