"""Each row of the contract's table of pictures, and EXIF, against OpenCV, whose readers are not Pillow's.

OpenCV keeps alpha channels, 16 bits and stored rows if it is asked for the file unchanged. What is laid over white is
then plain arithmetic. It passes over a transparent grey, so that is computed from the samples that were written.
"""

import struct
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.manifest import ImageRecipe
from models.preprocess import decode_image
from tests.models.pictures_by_hand import encode, exif, packed, png, webp, with_segments, without_jfif

HEIGHT = 7
WIDTH = 9
RANDOM = np.random.default_rng(18)
PIXELS = RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(HEIGHT) * 20, np.arange(WIDTH) * 10)[:, :, None].repeat(3, 2).astype(np.uint8)
SMOOTH[:, :, 1] //= 2
JPEG = encode(SMOOTH, "JPEG", quality=95)
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
PALETTE = RANDOM.integers(0, 256, (256, 3), dtype=np.uint8).tobytes()
ALPHAS = RANDOM.integers(0, 256, 256, dtype=np.uint8).tobytes()


def ours(data: bytes, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.float64]:
    recipe = ImageRecipe(height, width, min(height, width), (0.0,) * 3, (1.0,) * 3)
    return decode_image(data, recipe).astype(float)


def opencv(data: bytes, flags: int = cv2.IMREAD_UNCHANGED) -> NDArray[np.float64]:
    """Return (height, width, 3) RGB of 0 to 255, over white."""
    found = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    assert found is not None
    values = found.astype(float) / (257 if found.dtype == np.uint16 else 1)
    if values.ndim == 2:
        return values[:, :, None].repeat(3, 2)
    if values.shape[2] == 3:
        return values[:, :, ::-1]
    alpha = values[:, :, 3:] / 255
    return values[:, :, 2::-1] * alpha + 255 * (1 - alpha)


def samples(depth: int, channels: int = 1) -> NDArray[np.int64]:
    return RANDOM.integers(0, 2**depth, (HEIGHT, WIDTH * channels))


def by_hand(depth: int, colour: int, channels: int, *extra: tuple[bytes, bytes]) -> bytes:
    return png(WIDTH, HEIGHT, depth, colour, packed(samples(depth, channels), depth), *extra)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_greyscale_of_every_depth_is_repeated_in_three_channels(depth: int) -> None:
    data = by_hand(depth, 0, 1)
    np.testing.assert_array_equal(ours(data), opencv(data))


def test_sixteen_bits_of_grey_are_rounded() -> None:
    data = by_hand(16, 0, 1)
    np.testing.assert_allclose(ours(data), opencv(data), atol=0.5)


@pytest.mark.parametrize(("colour", "channels", "within"), [(2, 3, 1.0), (4, 2, 2.0), (6, 4, 2.0)])
def test_sixteen_bits_of_colour_lose_the_lower_eight(colour: int, channels: int, within: float) -> None:
    data = by_hand(16, colour, channels)
    np.testing.assert_allclose(ours(data), opencv(data), atol=within)  # one for the colour, one for its alpha


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alphas", [None, ALPHAS, b"\0", b"\xff\0", b"\0\0"])
def test_palettes_of_every_depth_with_and_without_alpha(depth: int, alphas: bytes | None) -> None:
    extra = [(b"PLTE", PALETTE[: 3 * 2**depth])] + ([(b"tRNS", alphas[: 2**depth])] if alphas else [])
    data = by_hand(depth, 3, 1, *extra)
    np.testing.assert_allclose(ours(data), opencv(data), atol=0.51)  # rounding


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (4, 2), (6, 4)])
def test_eight_bits_with_and_without_alpha(colour: int, channels: int) -> None:
    data = by_hand(8, colour, channels)
    np.testing.assert_allclose(ours(data), opencv(data), atol=0.51)  # rounding


@pytest.mark.parametrize(("depth", "within"), [(8, 0.0), (16, 1.0)])
def test_a_transparent_colour_is_white_and_no_other_colour_is(depth: int, within: float) -> None:
    values = samples(depth, 3)
    values[0, 3:6] = values[0, :3] ^ 1  # in 16 bits, the upper eight are those of the transparent colour
    values[0, 6:9] = (values[0, :3] & 255) << (depth - 8)  # and here they are its lower eight
    transparent = (b"tRNS", struct.pack(">HHH", *values[0, :3].tolist()))
    data = png(WIDTH, HEIGHT, depth, 2, packed(values, depth), transparent)
    np.testing.assert_allclose(ours(data), opencv(data), atol=within)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_grey_is_white_and_no_other_grey_is(depth: int) -> None:
    values = samples(depth)
    for grey in {int(values[0, 0]), 2**depth - 1, 1}:
        data = png(WIDTH, HEIGHT, depth, 0, packed(values, depth), (b"tRNS", struct.pack(">H", grey)))
        expected = np.where(values == grey, 255, values / (2**depth - 1) * 255)
        np.testing.assert_allclose(ours(data)[:, :, 1], expected, atol=0.5)  # 16 bits are rounded


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"keep_rgb": True}])
def test_jpegs(mode: str, options: dict[str, Any]) -> None:
    data = encode(Image.fromarray(SMOOTH).convert(mode), "JPEG", quality=95, **options)
    np.testing.assert_array_equal(ours(data), opencv(data))


@pytest.mark.parametrize("transform", [0, 1])
@pytest.mark.parametrize("jfif", [True, False])
def test_the_segments_that_say_what_the_channels_of_a_jpeg_are_count(transform: int, jfif: bool) -> None:
    adobe = (0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))
    data = with_segments(JPEG if jfif else without_jfif(JPEG), adobe)
    np.testing.assert_array_equal(ours(data), opencv(data))


def test_cmyk_by_the_plain_formula() -> None:
    data = encode(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=95)
    np.testing.assert_allclose(ours(data), opencv(data, cv2.IMREAD_COLOR), atol=1)  # OpenCV's rounding


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_webps(mode: str) -> None:
    picture = Image.fromarray(RANDOM.integers(0, 256, (HEIGHT, WIDTH, len(mode)), dtype=np.uint8))
    data = encode(picture, "WEBP", lossless=True, exact=True)
    np.testing.assert_allclose(ours(data), opencv(data), atol=0.51)  # rounding


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_of_an_animation_the_first_frame_counts(kind: str, options: dict[str, Any]) -> None:
    data = encode(PIXELS, kind, save_all=True, append_images=[Image.fromarray(255 - PIXELS)], duration=100, **options)
    np.testing.assert_array_equal(ours(data), opencv(data, cv2.IMREAD_COLOR))


def test_of_an_animated_png_the_picture_that_needs_no_animation_counts() -> None:
    later = [Image.fromarray(255 - PIXELS), Image.fromarray(PIXELS // 2)]
    data = encode(PIXELS, "PNG", save_all=True, append_images=later, duration=100, default_image=True)
    np.testing.assert_array_equal(ours(data), PIXELS)
    np.testing.assert_array_equal(opencv(data, cv2.IMREAD_COLOR), 255 - PIXELS)  # it shows the animation's first


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_turns_a_picture_as_opencv_turns_it(kind: str, orientation: int) -> None:
    options = {"quality": 95} if kind == "JPEG" else {"lossless": True}
    data = encode(SMOOTH, kind, exif=b"Exif\0\0" + exif(orientation), xmp=XMP, **options)
    upright = opencv(data, cv2.IMREAD_COLOR)
    assert upright.shape[:2] == ((WIDTH, HEIGHT) if orientation in (5, 6, 7, 8) else (HEIGHT, WIDTH))
    np.testing.assert_array_equal(ours(data, *upright.shape[:2]), upright)


XMP_CHUNK = (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
PLAIN_WEBP = encode(SMOOTH, "WEBP", lossless=True)
ONLY_XMP = {
    "JPEG": encode(SMOOTH, "JPEG", quality=95, xmp=XMP),
    "JPEG, EXIF without an orientation": encode(SMOOTH, "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0", xmp=XMP),
    "PNG": png(WIDTH, HEIGHT, 8, 2, packed(SMOOTH.reshape(HEIGHT, -1), 8), XMP_CHUNK),
    "PNG, behind the pixels": png(WIDTH, HEIGHT, 8, 2, packed(SMOOTH.reshape(HEIGHT, -1), 8), after=XMP_CHUNK),
    "WebP": webp(PLAIN_WEBP, WIDTH, HEIGHT, (b"XMP ", XMP)),
}


@pytest.mark.parametrize("data", ONLY_XMP.values(), ids=ONLY_XMP)
def test_an_orientation_in_xmp_turns_nothing(data: bytes) -> None:
    assert b'tiff:Orientation="6"' in data
    np.testing.assert_array_equal(ours(data), opencv(data, cv2.IMREAD_COLOR))
