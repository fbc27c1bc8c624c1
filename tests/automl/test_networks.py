"""Every candidate that fits is done in a real run: none fails for want of an argument."""

import numpy as np
import pytest
import soundfile
from PIL import Image

import thrifty

RNG = np.random.default_rng(0)


def bars(number):
    """A noisy image with a bright bar across or down."""
    pixels = RNG.integers(0, 120, (16, 16)).astype(np.uint8)
    place = RNG.integers(3, 12)
    (pixels if number % 2 else pixels.T)[place : place + 2] = 250
    return Image.fromarray(pixels)


def tone(number):
    """Half a second of noise with a low or a high tone."""
    at = np.arange(8000) / 16000
    return 0.3 * np.sin(2 * np.pi * (300, 1500)[number % 2] * at) + 0.1 * RNG.standard_normal(8000)


@pytest.mark.slow
@pytest.mark.parametrize("medium", ["image", "audio"])
def test_a_network_is_trained_from_a_folder(tmp_path, medium):
    for number in range(240):
        folder = tmp_path / "data" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        if medium == "image":
            bars(number).save(folder / f"{number}.png")
        else:
            soundfile.write(folder / f"{number}.wav", tone(number), 16000)
    settings = {"model.kind": f"{medium}_network", "training.epochs": 25}
    run = thrifty.train(
        tmp_path / "data", minutes=2.0, out=tmp_path / "run", settings=settings, max_accuracy_loss=5.0, cache=False
    )
    (candidate,) = [c for c in run.report["candidates"] if c["name"] == f"{medium}_network"]
    assert candidate["status"] == "done"
    assert run.report["validation"]["accuracy"]["value"] > 0.8
