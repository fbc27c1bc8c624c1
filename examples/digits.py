"""Writes scikit-learn's handwritten digits (1,797 images, 8 x 8) as a folder of images per class.

    python examples/digits.py FOLDER        FOLDER/train/0/0000.png ... FOLDER/test/9/1796.png

Every fifth image is in the test part.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write(folder: Path) -> int:
    """Writes the images that are not there yet; returns how many there are."""
    digits = load_digits()
    pixels_NHW = (digits.images * (255 / 16)).round().astype(np.uint8)
    for number, (pixels_HW, digit) in enumerate(zip(pixels_NHW, digits.target, strict=True)):
        path = folder / ("test" if number % 5 == 4 else "train") / str(digit) / f"{number:04}.png"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels_HW).save(path)
    return len(pixels_NHW)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/digits.py FOLDER")
    print(f"{write(Path(sys.argv[1]))} images of digits in {sys.argv[1]}")
