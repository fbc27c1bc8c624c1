import io
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest


@pytest.fixture
def png() -> Callable[..., bytes]:
    """A maker of PNG files of noise: png(seed, size)."""

    def make(seed: int = 0, size: int = 12) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
        out = io.BytesIO()
        PIL.Image.fromarray(pixels).save(out, "PNG")
        return out.getvalue()

    return make


@pytest.fixture
def wav() -> Callable[..., bytes]:
    """A maker of WAV files of noise: wav(seed, samples)."""

    def make(seed: int = 0, samples: int = 800) -> bytes:
        out = io.BytesIO()
        with wave.open(out, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(np.random.default_rng(seed).integers(-9999, 9999, samples, dtype=np.int16).tobytes())
        return out.getvalue()

    return make


@pytest.fixture
def write(tmp_path: Path) -> Callable[[dict[str, bytes]], Path]:
    """Writes files below a new folder and returns it."""
    count = 0

    def make(files: dict[str, bytes]) -> Path:
        nonlocal count
        count += 1
        root = tmp_path / f"files{count}"
        root.mkdir()
        for name, data in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        return root

    return make


WORDS = [
    "red", "green", "blue", "fast", "slow", "old", "new", "big", "small", "fox", "sea", "tree", "stone", "bird"
]  # fmt: skip


def rows_of_two_classes(num: int = 60, seed: int = 0) -> list[dict[str, object]]:
    """Rows with a number, a category, a text, and a label that follows the number."""
    rng = np.random.default_rng(seed)
    words = np.array(WORDS)
    return [
        {
            "size": round(float(rng.normal(i % 2)), 3),
            "kind": str(rng.choice(["p", "q", "r"])),
            "words": " ".join(rng.choice(words, 5)),
            "label": f"c{i % 2}",
        }
        for i in range(num)
    ]


@pytest.fixture
def rows() -> Callable[..., list[dict[str, object]]]:
    return rows_of_two_classes
