"""A part of a picture is the part of what decoding the whole gives."""

import io

import numpy as np
import pytest
from PIL import Image

from models.errors import ImageTooLargeError, UnreadableImageError, UnsupportedImageError
from models.preprocess import decode_region

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (60, 80, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((1600, 1200)))
BOX = (10, 5, 50, 45)


def encoded(pixels: np.ndarray, kind: str = "PNG", orientation: int | None = None, **options: object) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_part_of_its_own_size_is_cut_out_to_the_pixel(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    part = decode_region(encoded(NOISE, kind, **options), lambda *_: BOX, height=40, width=40)
    assert np.array_equal(part, NOISE[5:45, 10:50])
    assert part.flags.c_contiguous


def test_a_part_is_cut_out_before_it_is_resized() -> None:
    part = decode_region(encoded(NOISE), lambda *_: BOX, height=20, width=16)
    expected = Image.fromarray(NOISE).crop(BOX).resize((16, 20), Image.Resampling.BILINEAR)
    assert np.array_equal(part, np.asarray(expected))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_the_part_is_one_of_the_upright_picture(kind: str, orientation: int) -> None:
    data = encoded(NOISE, kind, orientation)
    whole = {}

    def everything(width: int, height: int) -> tuple[int, int, int, int]:
        whole["size"] = (width, height)
        return 0, 0, width, height

    width, height = (60, 80) if orientation >= 5 else (80, 60)
    upright = decode_region(data, everything, height=height, width=width)
    assert whole["size"] == (width, height)
    with Image.open(io.BytesIO(data)) as image:
        stored = image.convert("RGB")
    turned = {  # the EXIF standard: where the stored picture's first row and column are to be seen
        1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[:, ::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1], 8: lambda a: a.swapaxes(0, 1)[::-1],
    }  # fmt: skip
    assert np.array_equal(upright, turned[orientation](np.asarray(stored)))
    part = decode_region(data, lambda *_: BOX, height=40, width=40)
    assert np.array_equal(part, upright[5:45, 10:50])


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size_and_looks_the_same(
    monkeypatch: pytest.MonkeyPatch, orientation: int
) -> None:
    data = encoded(SMOOTH, "JPEG", orientation, quality=95)
    decoded = []
    load = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda image, *rest: decoded.append(image.size) or load(image, *rest))
    box = (100, 200, 1000, 1100)
    part = decode_region(data, lambda *_: box, height=96, width=96)
    assert decoded == [(225, 225)]  # a quarter; an eighth would leave fewer than twice the 96 pixels
    with Image.open(io.BytesIO(data)) as image:
        upright = image.transpose(Image.Transpose.ROTATE_270) if orientation == 6 else image
        expected = load(upright.crop(box), (96, 96), Image.Resampling.BILINEAR)
    assert np.abs(part.astype(int) - np.asarray(expected)).mean() < 1.5


def test_a_part_at_its_full_size_is_decoded_at_full_size() -> None:
    part = decode_region(encoded(SMOOTH, "JPEG"), lambda *_: (400, 400, 624, 624), height=224, width=224)
    with Image.open(io.BytesIO(encoded(SMOOTH, "JPEG"))) as image:
        assert np.array_equal(part, np.asarray(image)[400:624, 400:624])


def test_transparency_and_grey_mean_what_they_mean_for_the_whole() -> None:
    clear = np.zeros((20, 20, 4), np.uint8)
    assert (decode_region(encoded(clear), lambda *_: (0, 0, 10, 10), height=4, width=4) == 255).all()
    wide = np.full((20, 20), 32896, np.uint16)
    assert (decode_region(encoded(wide), lambda *_: (0, 0, 10, 10), height=4, width=4) == 128).all()


def test_what_is_no_picture_or_too_large_is_refused_before_the_box_is_asked_for() -> None:
    def never(*_: int) -> tuple[int, int, int, int]:
        raise AssertionError

    for data, error in (
        (b"", UnreadableImageError),
        (b"GIF89a" + bytes(20), UnsupportedImageError),
        (encoded(NOISE)[:200], UnreadableImageError),
    ):
        with pytest.raises(error):
            decode_region(data, never, height=8, width=8)
    with pytest.raises(ImageTooLargeError, match="80 x 60"):
        decode_region(encoded(NOISE), never, height=8, width=8, max_pixels=4799)
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode_region(encoded(NOISE, "JPEG")[:1500], lambda *_: BOX, height=8, width=8)
