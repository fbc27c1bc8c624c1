import contextlib
import io
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from thrifty.data.encode.encoder import UnreadableError
from thrifty.data.encode.image import Image, channels_of, decode_image, decode_sized

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def file_of(image: Pillow.Image, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def png(width: int, height: int) -> bytes:
    """A PNG whose header says this size and that holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F", "LA", "PA", "La", "RGBa"]
)
def test_an_image_of_any_mode_becomes_grey_or_colours(mode: str) -> None:
    image = Pillow.fromarray(PIXELS)
    steps = {"PA": ("P", "PA"), "La": ("LA", "La"), "RGBa": ("RGBA", "RGBa")}.get(mode, (mode,))
    for step in steps:
        image = image.convert(step)
    decoded = decode_image(image)
    assert decoded.mode in ("L", "RGB")
    assert decoded.size == (30, 20)
    assert abs(np.asarray(decoded).mean() - PIXELS.mean()) < 8


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_file_is_read_from_bytes_and_from_a_path_alike(form: str, tmp_path) -> None:
    data = file_of(Pillow.fromarray(PIXELS), form)
    path = tmp_path / "image"
    path.write_bytes(data)
    np.testing.assert_array_equal(decode_image(data), decode_image(str(path)))
    np.testing.assert_array_equal(decode_image(data), decode_image(path))


def test_sixteen_bits_are_scaled_by_their_whole_range() -> None:
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    decoded = np.asarray(decode_image(file_of(Pillow.fromarray(deep))))
    np.testing.assert_array_equal(decoded, np.arange(256).reshape(16, 16))


def test_transparent_pixels_are_laid_on_grey() -> None:
    clear = np.zeros((4, 4, 4), np.uint8)
    clear[:2] = (255, 0, 0, 255)
    decoded = np.asarray(decode_image(file_of(Pillow.fromarray(clear))))
    assert (decoded[:2] == (255, 0, 0)).all()
    assert (decoded[2:] == 128).all()


def test_a_palette_with_a_transparent_colour_is_laid_on_grey() -> None:
    image = Pillow.new("P", (4, 4), 0)
    image.putpalette([9, 9, 9] + [255, 255, 0] * 255)
    image.putpixel((0, 0), 1)
    decoded = np.asarray(decode_image(file_of(image, "PNG", transparency=0)))
    assert tuple(decoded[0, 0]) == (255, 255, 0)
    assert (decoded[1:] == 128).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_turned_by_its_camera_stands_upright(orientation: int) -> None:
    from PIL import ImageOps

    exif = Pillow.Exif()
    exif[0x0112] = orientation
    data = file_of(Pillow.fromarray(PIXELS), "PNG", exif=exif)
    decoded, size = decode_sized(data)
    np.testing.assert_array_equal(decoded, ImageOps.exif_transpose(Pillow.open(io.BytesIO(data))))
    assert size == decoded.size


def test_an_animation_gives_its_first_frame() -> None:
    frames = [Pillow.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    decoded = decode_image(file_of(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert decoded.convert("RGB").getpixel((0, 0)) == (255, 0, 0)


def test_a_big_jpeg_is_decoded_small_when_little_is_asked_for() -> None:
    big = Pillow.fromarray(PIXELS).resize((1600, 800))
    data = file_of(big, "JPEG")
    small, size = decode_sized(data, side=32)
    assert small.size[0] < 400
    assert size == (1600, 800)
    whole = Image(("f",), 32).encode({"f": [decode_image(data)]})[0]["pixels"].astype(int)
    drafted = Image(("f",), 32).encode({"f": [data]})[0]["pixels"].astype(int)
    assert np.abs(whole - drafted).mean() < 3


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "0 bytes"),
        (b"not an image at all", "format"),
        (png(60_000, 60_000), "limit"),
        (png(10_000, 9_000), "limit"),
        (png(9, 9), "truncated|damaged"),
        (file_of(Pillow.fromarray(PIXELS))[:900], "truncated"),
        (file_of(Pillow.fromarray(PIXELS), "JPEG")[:700], "truncated"),
        ("nowhere/at/all.png", "no file"),
        ("/tmp", "folder"),
        (3.5, "float"),
    ],
    ids=lambda value: value if isinstance(value, str) else "value",
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_cannot_be_read_is_told_with_its_reason(value: object, reason: str) -> None:
    with pytest.raises(UnreadableError, match=reason):
        decode_image(value)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_anywhere_is_an_unreadable_image_or_none(form: str) -> None:
    data = file_of(Pillow.fromarray(PIXELS), form)
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = np.frombuffer(data[: rng.integers(1, len(data) + 1)], np.uint8).copy()
        damaged[rng.integers(0, len(damaged), 3)] = rng.integers(0, 256, 3)
        with contextlib.suppress(UnreadableError):
            assert decode_image(damaged.tobytes()).mode in ("L", "RGB")


def test_rows_keep_their_places_when_some_are_missing_or_damaged() -> None:
    good = file_of(Pillow.new("RGB", (9, 5), "white"))
    encoder = Image(("photo",), 8)
    for threads in (1, 2):
        arrays, problems = encoder.encode({"photo": [good, None, b"broken", good] * 10}, threads)
        assert arrays["pixels"].shape == (40, 8, 8, 3)
        assert arrays["pixels"].dtype == np.uint8
        assert arrays["present"][:, 0].tolist() == [1, 0, 0, 1] * 10
        assert (arrays["pixels"][[0, 3]] == 255).all()
        assert (arrays["pixels"][[1, 2]] == 0).all()
        assert [(p.row, p.column) for p in problems] == [(4 * i + 2, "photo") for i in range(10)]


def test_the_channels_are_three_when_any_image_has_colours() -> None:
    grey, colours = Pillow.new("RGB", (4, 4), (7, 7, 7)), Pillow.new("RGB", (4, 4), (7, 7, 8))
    assert channels_of([grey, None, b"broken"]) == 1
    assert channels_of([grey, colours]) == 3
    assert channels_of([colours if row % 400 == 7 else None for row in range(4000)]) == 3


def test_the_channels_are_told_by_a_few_images_without_making_all() -> None:
    made = []

    class Many(Sequence):
        def __len__(self) -> int:
            return 100_000

        def __getitem__(self, row: Any) -> Any:
            made.append(row)
            return Pillow.new("L", (4, 4))

    assert channels_of(Many()) == 1
    assert len(made) == 200
