"""A tokenizer trained on the texts at hand: byte-pair encoding of bytes (https://arxiv.org/abs/1508.07909).

Every text of any language can be written with it, for single bytes are tokens too; a run of letters that has no spaces
in it is broken up by what is frequent in it. Case and the width of letters do not count.
"""

from collections.abc import Iterator, Sequence

from thrifty.data.encode.sample import some_of

MOST_CHARS = 20_000_000  # that it learns from, of texts spread evenly over all
LONGEST = 10_000  # characters of one text
MIN_COUNT = 2  # of a pair of tokens that is made one
HIDDEN = "[MASK]"  # a token that no text has, for training to hide others by
_PIECES = r" ?[\p{L}\p{M}\p{N}_]+| ?[^\s\p{L}\p{M}\p{N}_]+"


def train_tokenizer(texts: Sequence[str], num_tokens: int) -> str:
    """The text of a `tokenizer.json` of at most `num_tokens` tokens, 256 of them the single bytes and one HIDDEN.

    The same texts give the same tokenizer. A text of nothing but space has no token.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
            normalizers.Prepend(" "),  # so that a word is the same at the beginning
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=num_tokens, min_frequency=MIN_COUNT, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=[HIDDEN],
    )  # fmt: skip
    tokenizer.train_from_iterator(_some(texts), trainer)
    text: str = tokenizer.to_str()
    return text


def num_tokens_of(tokenizer: str) -> int:
    """One more than the largest id that the tokenizer gives."""
    from tokenizers import Tokenizer

    return int(Tokenizer.from_str(tokenizer).get_vocab_size())


def _some(texts: Sequence[str]) -> Iterator[str]:
    """Texts spread evenly over all, as whole characters, MOST_CHARS of them or little more."""
    total = sum(min(len(text), LONGEST) for text in texts)
    for text in some_of(texts, len(texts) * MOST_CHARS // max(1, total)):
        yield text[:LONGEST].encode("utf-8", "replace").decode()
