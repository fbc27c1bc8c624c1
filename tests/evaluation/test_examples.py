import base64
import io
import json

import numpy as np
import pytest
import soundfile
from findings_of_tests import part_of
from PIL import Image

from thrifty.evaluation.decisions import decide
from thrifty.evaluation.examples import gather, worst_rows

CLASSES = ["a", "b", "c"]


def content(example):
    kind, _, data = example["source"].partition(";base64,")
    return kind, io.BytesIO(base64.b64decode(data))


def one(value, meaning, **options):
    part = part_of("multiclass", 60)
    found = gather("multiclass", part, CLASSES, lambda rows: {"x": [value] * len(rows)}, {"x": meaning}, **options)
    json.dumps(found, allow_nan=False)
    return found["worst"][0]["inputs"][0]


def test_worst_rows_are_wrong_and_the_surest_errors_come_first():
    for task in ("multiclass", "multilabel", "regression"):
        part = part_of(task, 200)
        codes = None if task == "regression" else decide(task, part.outputs)
        rows = worst_rows(task, part, codes)
        assert len(rows) == 18
        if task == "multiclass":
            assert (part.y[rows] != codes[rows]).all()
            chances = part.outputs[rows, part.y[rows]]
            assert (np.diff(chances) >= 0).all()
    perfect = type(part)(np.array([0, 1]), np.eye(2))
    assert len(worst_rows("binary", perfect, np.array([0, 1]))) == 0


def test_every_filled_cell_has_rows_of_that_cell():
    part = part_of("multiclass", 200)
    codes = decide("multiclass", part.outputs)
    found = gather("multiclass", part, CLASSES, lambda rows: {"n": list(rows)}, {"n": "number"})
    seen = {(c["true"], c["answered"]) for c in found["cells"]}
    assert seen == set(zip(part.y.tolist(), codes.tolist()))
    for cell in found["cells"]:
        assert 1 <= len(cell["examples"]) <= 3
        for example in cell["examples"]:
            assert (part.y[example["row"]], codes[example["row"]]) == (cell["true"], cell["answered"])
            assert example["inputs"][0]["text"] == str(example["row"])


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "LA", "CMYK", "1", "I;16", "F"])
def test_images_of_any_mode_become_thumbnails(mode, tmp_path):
    path = tmp_path / ("x.tif" if mode in ("F", "CMYK", "I;16") else "x.png")
    Image.new(mode, (300, 200)).save(path)
    kind, data = content(one(str(path), "image"))
    assert kind == "data:image/jpeg"
    assert Image.open(data).size == (128, 85)


def test_small_images_keep_every_pixel_and_bytes_work_too():
    out = io.BytesIO()
    Image.fromarray(np.arange(28 * 28, dtype=np.uint8).reshape(28, 28)).save(out, "PNG")
    kind, data = content(one(out.getvalue(), "image"))
    assert kind == "data:image/png"
    assert (np.asarray(Image.open(data)) == np.arange(28 * 28).astype(np.uint8).reshape(28, 28)).all()


def test_sounds_become_short_clips_that_play(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.zeros((44100 * 6, 2)), 44100)
    _, data = content(one(str(tmp_path / "x.wav"), "audio"))
    clip, rate = soundfile.read(data)
    assert rate == 16_000
    assert len(clip) / rate == pytest.approx(4, abs=0.1)


def test_what_cannot_be_shown_is_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    assert one(str(tmp_path / "broken.png"), "image") == {"column": "x", "kind": "value", "text": "broken.png"}
    assert one(str(tmp_path / "none.wav"), "audio")["text"] == "none.wav"
    assert one(b"no image", "image")["text"] == "(bytes)"
    assert one(None, "image")["text"] == "(missing)"
    long = one("x" * 1000, "text")
    assert (long["kind"], len(long["text"])) == ("text", 401)


def test_media_stop_when_time_or_bytes_run_out(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    assert "source" not in one(str(tmp_path / "x.png"), "image", seconds=-1)
    assert "source" not in one(str(tmp_path / "x.png"), "image", max_bytes=0)
