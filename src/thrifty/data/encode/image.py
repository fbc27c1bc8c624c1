"""Images as pixels: any file that Pillow reads, upright, without alpha, 8 bits a channel.

Shapes: N rows, H height, W width, C channels (1 grey or 3 colours).
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from thrifty.core.seeds import generator
from thrifty.data.encode.encoder import Arrays, Columns, Problem, State, UnreadableError, read_each
from thrifty.data.encode.values import is_missing

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

MAX_PIXELS = 89_000_000  # just below where Pillow warns of a decompression bomb
BACKGROUND = 128  # the grey that transparent pixels are laid on
_ORIENTATION = 0x0112
_FAULTS = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, IndexError, KeyError, AttributeError, OverflowError,
    ArithmeticError, RuntimeError, NotImplementedError, MemoryError, struct.error, zlib.error,
)  # fmt: skip


def decode_image(value: Any, *, side: int | None = None) -> "PillowImage":
    """The first frame of an image, upright, in mode L (when it has no colours by its mode) or RGB.

    value: a path, the bytes of a file, a Pillow image, or an array [H,W], [H,W,1], [H,W,3] or [H,W,4] of uint8.
    side: the size the caller will resize to; a JPEG may then be decoded at a half, quarter or eighth of its size.
    Raises UnreadableError, whose text is the reason.
    """
    return decode_sized(value, side=side)[0]


def decode_sized(value: Any, *, side: int | None = None) -> tuple["PillowImage", tuple[int, int]]:
    """What `decode_image` gives, and the whole image's width and height, upright."""
    pillow = _pillow()
    try:
        image = _open(value)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise UnreadableError(f"{width} x {height} pixels, more than the limit of {MAX_PIXELS:,}")
        if side is not None and image.format == "JPEG":
            image.draft(None, (2 * side, 2 * side))
        turned = image.getexif().get(_ORIENTATION, 1) if image.format is not None else 1
        image.load()
        if turned != 1:
            image = _upright(image, turned)
            width, height = (height, width) if turned in (5, 6, 7, 8) else (width, height)
        return _opaque(image), (width, height)
    except UnreadableError:
        raise
    except pillow.DecompressionBombError as error:
        raise UnreadableError(f"more pixels than the limit of {MAX_PIXELS:,}") from error
    except _FAULTS as error:
        raise UnreadableError(_reason(value, error)) from error


@cache
def _pillow() -> Any:
    import PIL.Image

    # MAX_PIXELS refuses what the first warns of; the others tell of damaged metadata, which is not used.
    warnings.filterwarnings("ignore", category=PIL.Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\..*")
    return PIL.Image


def _open(value: Any) -> Any:
    pillow = _pillow()
    if isinstance(value, (bytes, bytearray, memoryview)):
        if not value:
            raise UnreadableError("empty: 0 bytes")
        return _opened(lambda: io.BytesIO(value))
    if isinstance(value, (str, Path)):
        return _opened(lambda: value)
    if isinstance(value, np.ndarray):
        return pillow.fromarray(value[..., 0] if value.ndim == 3 and value.shape[2] == 1 else value)
    if isinstance(value, pillow.Image):
        return value.copy()
    raise UnreadableError(f"not an image but a value of type {type(value).__name__}")


def _opened(source: Callable[[], Any]) -> Any:
    """The image; asked for twice, as Pillow knows some formats only after another thread has read all its plugins."""
    pillow = _pillow()
    try:
        return pillow.open(source())
    except pillow.UnidentifiedImageError:
        return pillow.open(source())


def _reason(value: Any, error: Exception) -> str:
    said = str(error).strip() or type(error).__name__
    if isinstance(error, FileNotFoundError):
        return f"there is no file {value}"
    if isinstance(value, (str, Path)) and isinstance(error, OSError):
        path = Path(value)
        if path.is_dir():
            return f"{value} is a folder, not an image"
        if path.is_file() and path.stat().st_size == 0:
            return "empty: 0 bytes"
    if "cannot identify" in said:
        return "not an image in a format that can be read"
    if "truncated" in said.lower():
        return f"truncated: {said}"
    return f"damaged: {said}"


def _upright(image: "PillowImage", orientation: int) -> "PillowImage":
    """Undoes the turn that EXIF orientation 2 to 8 tells of."""
    how = _pillow().Transpose
    turns = {
        2: how.FLIP_LEFT_RIGHT, 3: how.ROTATE_180, 4: how.FLIP_TOP_BOTTOM, 5: how.TRANSPOSE,
        6: how.ROTATE_270, 7: how.TRANSVERSE, 8: how.ROTATE_90,
    }  # fmt: skip
    return image.transpose(turns[orientation]) if orientation in turns else image


def _opaque(image: "PillowImage") -> "PillowImage":
    """The image in mode L or RGB, on grey where it is transparent."""
    mode = image.mode
    if mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if mode == "1":
        return image.convert("L")
    if mode[0] in "IF":
        return _eight_bits(image)
    if mode == "LAB":
        return _from_lab(image)
    if "transparency" in image.info or mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        return _on_grey(image)
    if mode == "P":
        plain = image.convert("RGB")
        return plain.convert("L") if image.palette is not None and _is_grey(plain) else plain
    return image.convert("RGB")


def _on_grey(image: "PillowImage") -> "PillowImage":
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    grey = image.mode == "LA" or (image.mode in ("L", "1"))
    image = image.convert("LA" if image.mode == "LA" else "RGBA")
    ground = _pillow().new("RGBA", image.size, (BACKGROUND, BACKGROUND, BACKGROUND, 255))
    ground.alpha_composite(image.convert("RGBA"))
    return ground.convert("L" if grey else "RGB")


def _is_grey(image: "PillowImage") -> bool:
    pixels_HWC = np.asarray(image)
    return bool((pixels_HWC[..., 0] == pixels_HWC[..., 1]).all() and (pixels_HWC[..., 0] == pixels_HWC[..., 2]).all())


def _eight_bits(image: "PillowImage") -> "PillowImage":
    """Scales 16-bit, 32-bit and float pixels to 8 bits: 16 bits by their whole range, the others by what they hold."""
    pixels_HW = np.asarray(image).astype(np.float64)
    pixels_HW[~np.isfinite(pixels_HW)] = 0
    low, high = 0.0, 65535.0
    if image.mode in ("F", "I") and image.format != "PNG":
        ranges = (1.0, 255.0) if image.mode == "F" else (255.0, 65535.0)
        low, top = float(pixels_HW.min()), float(pixels_HW.max())
        high = next((limit for limit in ranges if low >= 0 and top <= limit), top)
        low = 0.0 if high in ranges and low >= 0 else low
    scaled_HW = (pixels_HW - low) * (255.0 / max(high - low, 1e-9))
    return _pillow().fromarray(np.rint(scaled_HW).clip(0, 255).astype(np.uint8))


def _from_lab(image: "PillowImage") -> "PillowImage":
    from PIL import ImageCms

    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    changed = ImageCms.applyTransform(image, ImageCms.buildTransformFromOpenProfiles(*profiles, "LAB", "RGB"))
    assert changed is not None
    return changed


def square(image: "PillowImage", size: int, channels: int) -> np.ndarray:
    """The image resized to size x size (its content whole, its shape not kept), uint8 [size, size, channels]."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if image.size != (size, size):
        image = image.resize((size, size), _pillow().Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(image).reshape(size, size, channels)


def channels_of(values: Sequence[Any], sample: int = 200) -> int:
    """1 when all of a random sample of the images are grey, else 3. Unreadable and missing ones do not count."""
    seen = 0
    for row in generator(0, "channels").permutation(len(values)).tolist():
        if is_missing(value := values[row]):
            continue
        try:
            image = decode_image(value, side=32)
        except UnreadableError:
            continue
        if image.mode == "RGB" and not _is_grey(image):
            return 3
        seen += 1
        if seen == sample:
            break
    return 1


@dataclass(frozen=True)
class Image:
    """One column of images as `pixels` uint8 [N,H,W,C] and `present` float32 [N,1], both 0 where it is missing.

    size: H and W in pixels. channels: 1 or 3.
    """

    kind: ClassVar[str] = "image"
    columns: tuple[str, ...]
    size: int
    channels: int = 3

    @property
    def outputs(self) -> tuple[str, ...]:
        return ("pixels", "present")

    def encode(self, columns: Columns, threads: int = 1) -> tuple[Arrays, list[Problem]]:
        values = columns[self.columns[0]]
        pixels_NHWC = np.zeros((len(values), self.size, self.size, self.channels), np.uint8)
        present_N1 = np.zeros((len(values), 1), np.float32)

        def read(row: int, value: Any) -> None:
            if not is_missing(value):
                pixels_NHWC[row] = square(decode_image(value, side=self.size), self.size, self.channels)
                present_N1[row] = 1

        problems = read_each(values, read, self.columns[0], threads)
        return {"pixels": pixels_NHWC, "present": present_N1}, problems

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "columns": list(self.columns), "size": self.size, "channels": self.channels}

    def state(self) -> dict[str, np.ndarray | str]:
        return {}

    @classmethod
    def from_json(cls, value: Mapping[str, Any], state: State) -> Self:
        return cls(tuple(value["columns"]), value["size"], value["channels"])
