from pathlib import Path

import numpy as np
import pytest

from thrifty.core.errors import StoreError
from thrifty.data.encode.category import Category
from thrifty.data.encode.image import Image
from thrifty.data.encode.image_statistics import ImageStatistics
from thrifty.data.encode.log_mel import LogMel
from thrifty.data.encode.log_mel_statistics import LogMelStatistics
from thrifty.data.encode.number import Number
from thrifty.data.encode.registry import REGISTRY, encoder_class, load_encoder, save_encoder
from thrifty.data.encode.text_statistics import TextStatistics
from thrifty.data.encode.tfidf import Tfidf
from thrifty.data.encode.timestamp import Timestamp
from thrifty.data.encode.tokens import Tokens
from thrifty.data.encode.waveform import Waveform

NUMBERS = {"x": [1, 2.5, None, "4"]}
TEXTS = {"x": ["red fox", "red sea\r\n", None, "北京"]}
TOKENIZER = '{"version":"1.0","model":{"type":"WordLevel","vocab":{"a":0,"\\r\\n":1},"unk_token":"a"}}'
NOISE = np.random.default_rng(0).normal(0, 0.1, 9000).astype(np.float32)
SOUNDS = {"x": [(NOISE, 16_000), None]}
IMAGES = {"x": [np.random.default_rng(0).integers(0, 256, (9, 9), dtype=np.uint8), None]}

ENCODERS = [
    (Number.fit(NUMBERS, ["x"], "quantile"), NUMBERS),
    (Category.fit(TEXTS, ["x"], "one_hot"), TEXTS),
    (Timestamp.fit({"x": ["2020-01-01", None]}, ["x"], "standard"), {"x": ["2020-01-01", None]}),
    (Tfidf.fit(TEXTS, ["x"], min_rows=1), TEXTS),
    (TextStatistics(("x",)), TEXTS),
    (Tokens(("x",), TOKENIZER, 5), TEXTS),
    (Image(("x",), 8, 1), IMAGES),
    (ImageStatistics(("x",), 1), IMAGES),
    (LogMel(("x",), 0.5), SOUNDS),
    (LogMelStatistics(("x",)), SOUNDS),
    (Waveform(("x",), 0.5), SOUNDS),
]


@pytest.mark.parametrize(("encoder", "columns"), ENCODERS, ids=lambda v: getattr(v, "kind", ""))
def test_an_encoder_read_back_gives_the_same_arrays(encoder, columns: dict, tmp_path: Path) -> None:
    again = load_encoder(tmp_path, save_encoder(encoder, tmp_path, "node"))
    assert again.outputs == encoder.outputs
    before, after = encoder.encode(columns)[0], again.encode(columns)[0]
    assert tuple(before) == encoder.outputs
    for name, array in before.items():
        assert len(array) == len(columns["x"])
        np.testing.assert_array_equal(array, after[name])


def test_every_kind_is_registered_under_its_own_name() -> None:
    assert {encoder.kind for encoder, _ in ENCODERS} == set(REGISTRY)
    assert all(encoder_class(kind).kind == kind for kind in REGISTRY)


def test_an_unknown_kind_and_a_missing_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nonsense"):
        load_encoder(tmp_path, {"kind": "nonsense"})
    with pytest.raises(StoreError, match="tokens"):
        load_encoder(tmp_path, {"kind": "tokens", "columns": ["x"], "max_length": 5, "files": {"tokenizer": "no.txt"}})
