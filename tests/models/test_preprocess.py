"""Every kind of picture has one defined meaning, and every kind of damage a sentence."""

import struct
import subprocess
import sys
import tracemalloc
import warnings
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from models.errors import ImageTooLargeError, UnreadableImageError, UnsupportedImageError
from models.manifest import ImageRecipe
from models.preprocess import decode_image

HEIGHT = 6
WIDTH = 8
AS_IT_IS = ImageRecipe(HEIGHT, WIDTH, HEIGHT, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
PIXELS = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY = PIXELS[:, :, 0]


def recipe(height: int, width: int, resize: int) -> ImageRecipe:
    return ImageRecipe(height, width, resize, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def encode(image: Image.Image | NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG by hand: Pillow cannot write some of the kinds that it reads."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    packed = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_lossless_pictures_come_back_as_they_are(kind: str, options: dict[str, Any]) -> None:
    result = decode_image(encode(PIXELS, kind, **options), AS_IT_IS)
    np.testing.assert_array_equal(result, PIXELS)
    assert (result.dtype, result.flags.c_contiguous, result.flags.owndata) == (np.uint8, True, True)


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_jpeg_is_decoded(options: dict[str, Any]) -> None:
    flat = np.full((HEIGHT, WIDTH, 3), (200, 100, 50), np.uint8)
    np.testing.assert_allclose(decode_image(encode(flat, "JPEG", **options), AS_IT_IS), flat, atol=3)  # JPEG's own loss


def test_a_phones_picture_with_a_second_one_inside_is_a_jpeg() -> None:
    flat = Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 50))
    data = encode(flat, "MPO", save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT), "black")])
    np.testing.assert_allclose(decode_image(data, AS_IT_IS), np.asarray(flat), atol=3)  # JPEG's own loss


# EXIF's definition: which edge of the scene the stored first row and first column show.
UPRIGHT_FROM_STORED = {
    1: lambda stored: stored,
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.transpose(1, 0, 2),
    6: lambda stored: stored.transpose(1, 0, 2)[:, ::-1],
    7: lambda stored: stored.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda stored: stored.transpose(1, 0, 2)[::-1],
}


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(PIXELS, kind, lossless=True, exif=exif)
    expected = UPRIGHT_FROM_STORED[orientation](PIXELS)
    result = decode_image(data, recipe(*expected.shape[:2], HEIGHT))
    np.testing.assert_array_equal(result, expected)


def test_orientation_six_of_a_camera_turns_a_quarter_clockwise() -> None:
    stored = np.zeros((16, 16, 3), np.uint8)
    stored[:, :8] = 255  # left half white
    exif = Image.Exif()
    exif[0x0112] = 6
    result = decode_image(encode(stored, "JPEG", exif=exif, quality=95), recipe(16, 16, 16))
    assert (result[:6].min() > 240, result[10:].max() < 15) == (True, True)  # now the top half is


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0"])
def test_unreadable_exif_means_upright(exif: bytes) -> None:
    data = encode(PIXELS, "WEBP", lossless=True, exif=exif)
    np.testing.assert_array_equal(decode_image(data, AS_IT_IS), PIXELS)


def test_an_orientation_that_is_none_means_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    np.testing.assert_array_equal(decode_image(encode(PIXELS, exif=exif), AS_IT_IS), PIXELS)


def test_greyscale_is_repeated_in_three_channels() -> None:
    np.testing.assert_array_equal(decode_image(encode(GREY), AS_IT_IS), np.repeat(GREY[:, :, None], 3, axis=2))


def test_black_and_white_is_black_and_white() -> None:
    bits = Image.fromarray(GREY).convert("1")
    expected = np.where(np.asarray(bits)[:, :, None], 255, 0).repeat(3, axis=2)
    np.testing.assert_array_equal(decode_image(encode(bits), AS_IT_IS), expected)


def test_a_palette_is_expanded() -> None:
    picture = Image.fromarray(PIXELS).quantize(16)
    np.testing.assert_array_equal(decode_image(encode(picture), AS_IT_IS), np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_what_is_transparent_shows_white_behind_it(kind: str, options: dict[str, Any]) -> None:
    alpha = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    alpha[:, 2:4] = 128
    alpha[:, 4:] = 255
    result = decode_image(encode(np.concatenate([PIXELS, alpha], axis=2), kind, **options), AS_IT_IS)
    share = alpha / 255
    np.testing.assert_allclose(result, PIXELS * share + 255 * (1 - share), atol=1)  # rounding


def test_grey_with_alpha_shows_white_behind_it() -> None:
    picture = np.dstack([GREY, np.zeros_like(GREY)])
    assert decode_image(encode(Image.fromarray(picture, "LA")), AS_IT_IS).min() == 255


def test_a_transparent_palette_colour_is_white() -> None:
    picture = Image.new("P", (WIDTH, HEIGHT), 1)
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.putpixel((0, 0), 0)
    result = decode_image(encode(picture, transparency=0), AS_IT_IS)
    assert (result[0, 0].tolist(), result[1, 1].tolist()) == ([255, 255, 255], [255, 0, 0])


@pytest.mark.parametrize("depth", [8, 16])
def test_a_transparent_grey_is_white(depth: int) -> None:
    sample = ">u1" if depth == 8 else ">u2"
    rows = b"".join(b"\0" + np.array([7, 9], sample).tobytes() for _ in range(2))
    data = png(2, 2, depth, 0, rows, (b"tRNS", struct.pack(">H", 7)))
    result = decode_image(data, recipe(2, 2, 2))
    assert result[0, :, 0].tolist() == [255, 9 if depth == 8 else 0]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    wide = np.array([[0, 128, 129, 257], [300, 32768, 65406, 65535]], np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    result = decode_image(png(4, 2, 16, 0, rows), recipe(2, 4, 2))
    np.testing.assert_array_equal(result[:, :, 1], [[0, 0, 1, 1], [1, 128, 254, 255]])


def test_sixteen_bit_colours_are_scaled_within_one() -> None:
    wide = np.random.default_rng(1).integers(0, 65536, (4, 4, 3), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in wide)
    result = decode_image(png(4, 4, 16, 2, rows), recipe(4, 4, 4))
    assert np.abs(result - wide / 257).max() <= 1.0  # Pillow keeps the upper 8 bits


def test_cmyk_becomes_rgb() -> None:
    inks = Image.new("CMYK", (WIDTH, HEIGHT), (0, 255, 255, 0))  # magenta and yellow make red
    np.testing.assert_allclose(decode_image(encode(inks, "JPEG"), AS_IT_IS)[0, 0], [255, 0, 0], atol=3)


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("WEBP", {"lossless": True})])
def test_of_an_animation_the_first_frame_counts(kind: str, options: dict[str, Any]) -> None:
    later = [Image.fromarray(255 - PIXELS)]
    data = encode(PIXELS, kind, save_all=True, append_images=later, duration=100, **options)
    with Image.open(BytesIO(data)) as animation:
        assert animation.n_frames == 2  # type: ignore[attr-defined]
    np.testing.assert_array_equal(decode_image(data, AS_IT_IS), PIXELS)


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (33, 21), (10, 10), (9, 31)])
def test_the_shorter_side_is_resized_and_the_centre_cut_out(width: int, height: int) -> None:
    picture = Image.fromarray(np.random.default_rng(2).integers(0, 256, (height, width, 3), dtype=np.uint8))
    resized = (10 * width // min(width, height), 10 * height // min(width, height))
    whole = np.asarray(picture.resize(resized, Image.Resampling.BILINEAR))
    top = round((resized[1] - 8) / 2)
    left = round((resized[0] - 6) / 2)
    expected = whole[top : top + 8, left : left + 6]
    result = decode_image(encode(picture), recipe(8, 6, 10)).astype(int)
    np.testing.assert_allclose(result, expected, atol=1)  # the crop's box is rounded to float32


def test_shrinking_averages_instead_of_skipping() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    result = decode_image(encode(stripes), recipe(8, 8, 8))
    np.testing.assert_allclose(result, 127.5, atol=8)  # without antialiasing each pixel is 0 or 255, or a mix by phase


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", r"the image is empty \(0 bytes\); send a JPEG, PNG or WebP file"),
        (b"hello, I am a text file\n", "these bytes are not an image; send a JPEG, PNG or WebP file"),
        (b"\0" * 1000, "these bytes are not an image"),
        (b"\xff\xd8\xff", "the JPEG image is truncated or damaged: its header cannot be read; save or send it again"),
        (b"\x89PNG\r\n\x1a\n", "the PNG image is truncated or damaged: its header cannot be read"),
        (b"RIFF\x10\0\0\0WEBP", "the WebP image is truncated or damaged: its header cannot be read"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "these bytes are not an image"),
    ],
)
def test_what_is_no_image_is_told_so(data: bytes, sentence: str) -> None:
    with pytest.raises(UnreadableImageError, match=sentence):
        decode_image(data, AS_IT_IS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_image_is_told_so(kind: str, share: float) -> None:
    noise = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, kind)
    with pytest.raises(UnreadableImageError, match="truncated or damaged"):
        decode_image(data[: int(len(data) * share)], AS_IT_IS)


@pytest.mark.parametrize(("kind", "name"), [("GIF", "GIF"), ("BMP", "BMP"), ("TIFF", "TIFF"), ("ICO", "ICO")])
def test_another_format_is_named(kind: str, name: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"the image is a {name} file; send JPEG, PNG or WebP"):
        decode_image(encode(np.zeros((32, 32, 3), np.uint8), kind), AS_IT_IS)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x20ftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x20ftypheic\0\0\0\0", "HEIC"),
        (b"<svg xmlns=", "SVG"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_formats_that_we_cannot_even_write_are_named(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"the image is a {name} file"):
        decode_image(data, AS_IT_IS)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_too_many_pixels_are_refused_before_decoding(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(image: Image.Image, picture: bytes) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("models.preprocess._decode", decoded)
    data = encode(np.zeros((30, 40, 3), np.uint8), kind)
    with pytest.raises(ImageTooLargeError, match="has 40 x 30 pixels but at most 1199 are accepted; send a smaller"):
        decode_image(data, AS_IT_IS, max_pixels=1199)


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"icc_profile": b"makes it VP8X"}])
def test_a_webp_is_measured_before_pillow_opens_it(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("RGB", (300, 200), "red"), "WEBP", **options)
    monkeypatch.setattr(Image, "open", None)
    with pytest.raises(ImageTooLargeError, match="has 300 x 200 pixels"):
        decode_image(data, AS_IT_IS, max_pixels=59_999)


def test_a_decompression_bomb_raises_our_error_and_no_warning() -> None:
    data = png(20_000, 20_000, 8, 0, b"\0" * 100)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises(ImageTooLargeError, match="has 20000 x 20000 pixels"):
            decode_image(data, AS_IT_IS)
        with pytest.raises(UnreadableImageError, match="truncated or damaged"):
            decode_image(data, AS_IT_IS, max_pixels=10**9)
    assert caught == []


def test_a_thread_of_pixels_is_refused_before_it_is_blown_up() -> None:
    data = encode(np.zeros((1, 5000, 3), np.uint8))
    with pytest.raises(
        ImageTooLargeError, match="too long and thin: with its shorter side at 224 it would have 1120000"
    ):
        decode_image(data, recipe(224, 224, 224))


def test_a_jpeg_of_endless_scans_is_refused_whatever_lies_between_them() -> None:
    data = encode(PIXELS, "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    assert decode_image(data[:-2] + last * 80 + data[-2:], AS_IT_IS).shape == (HEIGHT, WIDTH, 3)
    one_component = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
    baseline = encode(PIXELS, "JPEG")
    start = baseline.index(b"\xff\xda")
    for many in (
        data[:-2] + last * 100 + data[-2:],
        data[:2] + b"\xff\xe5\0\x06\xff\xd9\xff\xd9" + data[2:-2] + (b"\0\xff\0\xff\xd0\xff" + last) * 100 + data[-2:],
        baseline[:start] + one_component * 101 + baseline[start:],
    ):
        with pytest.raises(UnreadableImageError, match="made of more than 100 scans, which no camera"):
            decode_image(many, AS_IT_IS)


def test_scans_of_pictures_inside_or_behind_a_jpeg_are_not_its_own() -> None:
    scans = b"\xff\xda" * 200
    data = encode(PIXELS, "JPEG", progressive=True, comment=scans) + scans
    alone = encode(PIXELS, "JPEG", progressive=True)
    np.testing.assert_array_equal(decode_image(data, AS_IT_IS), decode_image(alone, AS_IT_IS))


def test_sixteen_bits_take_no_more_than_a_few_bytes_for_each_pixel() -> None:
    data = encode(Image.fromarray(np.zeros((1000, 1000), np.uint16)))
    tracemalloc.start()
    decode_image(data, recipe(8, 8, 8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_what_pillow_says_of_a_file_is_neither_printed_nor_kept() -> None:
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x0e\0\x02\0\0\xff\xff\0\0\xff\xff"
    program = (
        "import sys; from models.manifest import ImageRecipe; from models.preprocess import decode_image\n"
        "from PIL import TiffImagePlugin\n"
        "decode_image(sys.stdin.buffer.read(), ImageRecipe(6, 8, 6, (0.0,) * 3, (1.0,) * 3))\n"
        "assert set(TiffImagePlugin.__warningregistry__) <= {'version'}"
    )
    data = encode(PIXELS, "JPEG", exif=exif)
    done = subprocess.run([sys.executable, "-c", program], input=data, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    with pytest.warns(UserWarning, match="Corrupt EXIF|Tag data larger|Truncated File Read"):
        decode_image(data, AS_IT_IS)  # else there would be nothing to keep quiet


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP"]), st.data())
def test_no_damage_escapes_the_error_tree(kind: str, data: Any) -> None:
    content = bytearray(encode(PIXELS, kind))
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert decode_image(bytes(content), recipe(4, 4, 5)).shape == (4, 4, 3)
    except (UnreadableImageError, UnsupportedImageError, ImageTooLargeError) as error:
        assert str(error).startswith(("the ", "these "))  # noqa: PT017  # either outcome is right


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([1, 2, 4, 8, 16]), st.integers(0, 7), st.binary(max_size=16), st.binary(max_size=48), st.data())
def test_no_contradiction_inside_a_png_escapes_the_error_tree(
    depth: int, colour: int, transparency: bytes, palette: bytes, data: Any
) -> None:
    rows = data.draw(st.binary(max_size=80))
    picture = png(3, 3, depth, colour, rows, (b"PLTE", palette), (b"tRNS", transparency))
    try:
        assert decode_image(picture, recipe(2, 2, 3)).shape == (2, 2, 3)
    except UnreadableImageError as error:
        assert "truncated or damaged" in str(error)  # noqa: PT017  # either outcome is right
