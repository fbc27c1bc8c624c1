"""Rows that show what a model gets wrong, with their inputs made small enough to sit inside a page.

Images become thumbnails, sounds short mono clips, both as data: addresses; texts are cut. Legend: N rows, K classes.
"""

from __future__ import annotations

import base64
import io
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from thrifty.evaluation.decisions import Decision
from thrifty.evaluation.findings import Part
from thrifty.evaluation.metrics import row_losses
from thrifty.evaluation.words import number_text

NUM_WORST = 18
PER_CELL = 3
MAX_CELLS = 150
SIDE_PIXELS = 128
SMALL_PIXELS = 64
CLIP_SECONDS = 4.0
CLIP_RATE = 16_000
MAX_TEXT = 400
MAX_COLUMNS = 8

Columns = Mapping[str, Sequence[Any]]


def gather(
    task: str,
    part: Part,
    classes: Sequence[str],
    columns_of: Callable[[np.ndarray], Columns],
    meanings: Mapping[str, str],
    decision: Decision | None = None,
    origin_of: Callable[[int], str] | None = None,
    seconds: float = 5.0,
    max_bytes: int = 4_000_000,
) -> dict[str, Any]:
    """{worst: [example], cells: [{true, answered, examples}]}, JSON for `document.html` (keep it beside report.json).

    columns_of: raw plain values of rows of the part (positions 0 to N - 1). meanings: of each column; ignored ones are
    left out. origin_of: where a row came from, as a user knows it. After `seconds` or `max_bytes` of media, further
    examples have text alone.
    """
    codes = None if task == "regression" else part.answered(task, decision)
    worst = worst_rows(task, part, codes)
    cells = [] if codes is None or task == "multilabel" else _cells(part.y.astype(np.int64), codes, part.outputs)
    rows = np.unique(np.concatenate([worst, *[rows for _, _, rows in cells]]).astype(np.int64))
    if not len(rows):
        return {"worst": [], "cells": []}
    columns = columns_of(rows)
    shown = [name for name in columns if str(meanings.get(name, "ignored")) != "ignored"][:MAX_COLUMNS]
    media = _Media(time.monotonic() + seconds, max_bytes)
    place = {int(row): k for k, row in enumerate(rows)}

    def example(row: int) -> dict[str, Any]:
        inputs = [media.show(name, str(meanings[name]), columns[name][place[row]]) for name in shown]
        answer = _answer(task, part, codes, classes, row)
        return {"row": row, "origin": origin_of(row) if origin_of else f"row {row + 1}", "inputs": inputs, **answer}

    return {
        "worst": [example(int(row)) for row in worst],
        "cells": [
            {"true": true, "answered": answered, "examples": [example(int(row)) for row in rows_of]}
            for true, answered, rows_of in cells
        ],
    }


def worst_rows(task: str, part: Part, codes: np.ndarray | None, count: int = NUM_WORST) -> np.ndarray:
    """The rows that are wrong by most: the largest error, or the largest loss among wrong answers; most wrong first."""
    if codes is None:
        loss_N = np.abs(part.y.reshape(-1) - part.outputs.reshape(-1))
        wrong_N = loss_N > 0
    else:
        y = part.y.astype(np.int64)
        loss_N = row_losses("log_loss", task, y, part.outputs)
        wrong_N = (y != codes).any(axis=1) if y.ndim == 2 else y != codes
    order_N = np.argsort(-np.where(wrong_N, loss_N, -np.inf), kind="stable")[:count]
    return order_N[wrong_N[order_N]]


def _cells(y_N: np.ndarray, codes_N: np.ndarray, p_NK: np.ndarray) -> list[tuple[int, int, np.ndarray]]:
    """The cells of the confusion matrix that hold most rows, errors first, each with its surest rows."""
    num_classes = p_NK.shape[1]
    cell_N = y_N * num_classes + codes_N
    counts = np.bincount(cell_N, minlength=num_classes**2)
    filled = np.flatnonzero(counts)
    wrong = filled // num_classes != filled % num_classes
    filled = filled[np.lexsort((-counts[filled], ~wrong))][:MAX_CELLS]
    surest_N = np.argsort(-p_NK[np.arange(len(y_N)), codes_N], kind="stable")
    order_N = surest_N[np.argsort(cell_N[surest_N], kind="stable")]
    starts = np.searchsorted(cell_N[order_N], filled)
    return [
        (int(cell) // num_classes, int(cell) % num_classes, order_N[start : start + min(PER_CELL, counts[cell])])
        for cell, start in zip(filled, starts)
    ]


def _answer(task: str, part: Part, codes: np.ndarray | None, classes: Sequence[str], row: int) -> dict[str, Any]:
    if codes is None:
        return {
            "true": number_text(float(part.y.reshape(-1)[row])),
            "answered": number_text(float(part.outputs.reshape(-1)[row])),
        }
    if task == "multilabel":
        named = (", ".join(c for c, on in zip(classes, labels) if on) or "none" for labels in (part.y[row], codes[row]))
        return dict(zip(("true", "answered"), named))
    true, answered = int(part.y[row]), int(codes[row])
    given = {"true": classes[true], "answered": classes[answered]}
    return given | {
        "probability": float(part.outputs[row, answered]),
        "true_probability": float(part.outputs[row, true]),
    }


class _Media:
    """Makes inputs showable until time or bytes run out; a file is read once."""

    def __init__(self, deadline: float, max_bytes: int) -> None:
        self.deadline, self.bytes_left = deadline, max_bytes
        self.made: dict[str, str | None] = {}

    def show(self, column: str, meaning: str, value: Any) -> dict[str, Any]:
        """{column, kind, text} or {column, kind, source} with kind text, image, audio or value."""
        if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
            return {"column": column, "kind": "value", "text": "(missing)"}
        if meaning not in ("image", "audio"):
            kind = "text" if meaning == "text" else "value"
            text = str(value)
            return {"column": column, "kind": kind, "text": text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "…"}
        source = self._source(meaning, value)
        if source is None:
            name = "(bytes)" if isinstance(value, bytes) else str(value).replace("\\", "/").rsplit("/", 1)[-1]
            return {"column": column, "kind": "value", "text": name}
        return {"column": column, "kind": meaning, "source": source}

    def _source(self, meaning: str, value: Any) -> str | None:
        key = f"{meaning}:{value if isinstance(value, str) else hash(value)}"
        if key not in self.made:
            if time.monotonic() > self.deadline or self.bytes_left <= 0:
                return None
            made = _thumbnail(value) if meaning == "image" else _clip(value)
            self.made[key] = made
            self.bytes_left -= len(made or "")
        return self.made[key]


def _thumbnail(value: Any) -> str | None:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(value) if isinstance(value, bytes) else value) as opened:
            opened.draft("RGB", (2 * SIDE_PIXELS, 2 * SIDE_PIXELS))
            image = ImageOps.exif_transpose(opened)
            image = _eight_bit(image)
            small = max(image.size) <= SMALL_PIXELS
            image.thumbnail((SIDE_PIXELS, SIDE_PIXELS))
            out = io.BytesIO()
            image.save(out, "PNG" if small else "JPEG", optimize=True, **({} if small else {"quality": 80}))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    return _address("image/png" if small else "image/jpeg", out.getvalue())


def _eight_bit(image: Any) -> Any:
    """RGB or grey of 8 bits from any mode; what is transparent becomes grey."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        values = np.asarray(image, dtype=np.float64)
        low, high = float(values.min()), float(values.max())
        return Image.fromarray(((values - low) * (255.0 / ((high - low) or 1.0))).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, (128, 128, 128, 255))
        return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")


def _clip(value: Any) -> str | None:
    """The first seconds, mono, as MP3 where the library writes it, else WAV."""
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(value) if isinstance(value, bytes) else value) as file:
            rate = file.samplerate
            wave = file.read(int(CLIP_SECONDS * rate), dtype="float32", always_2d=True).mean(axis=1)
    except (soundfile.SoundFileError, OSError, ValueError):
        return None
    if not len(wave):
        return None
    if rate != CLIP_RATE:
        import soxr

        wave, rate = soxr.resample(wave, rate, CLIP_RATE), CLIP_RATE
    wave = wave / max(1.0, float(np.abs(wave).max()))
    out = io.BytesIO()
    mp3 = "MP3" in soundfile.available_formats()
    soundfile.write(out, wave, rate, format="MP3" if mp3 else "WAV")
    return _address("audio/mpeg" if mp3 else "audio/wav", out.getvalue())


def _address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
