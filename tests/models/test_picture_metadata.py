"""What does not touch pixels neither refuses nor changes a picture."""

import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.errors import UnreadableImageError
from models.manifest import ImageRecipe
from models.picture_metadata import split_metadata
from models.preprocess import decode_image
from tests.models.pictures_by_hand import MAGIC, chunk, encode, exif, packed, png, webp, with_segments, without_jfif

HEIGHT = 6
WIDTH = 8
PIXELS = np.random.default_rng(18).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
ROWS = packed(PIXELS.reshape(HEIGHT, -1), 8)
PLAIN = {
    "PNG": png(WIDTH, HEIGHT, 8, 2, ROWS),
    "JPEG": encode(PIXELS, "JPEG"),
    "WebP": encode(PIXELS, "WEBP", lossless=True),
}
LARGE = b"<x>" + b" " * 3_000_000
MILLIONS = zlib.compress(bytes(100_000_000), 1)
WRONG_SUM = b"\0\0\0\3tEXta\0b\0\0\0\0"

PNG_CHUNKS = {
    "large XMP": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + LARGE),
    "large packed XMP": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(LARGE)),
    "large packed text": (b"zTXt", b"Comment\0\0" + zlib.compress(LARGE)),
    "text of an unknown packing": (b"zTXt", b"Comment\0\5abc"),
    "text without a name": (b"tEXt", b""),
    "a bomb of text": (b"zTXt", b"Comment\0\0" + MILLIONS),
    "a bomb of a colour profile": (b"iCCP", b"profile\0\0" + MILLIONS),
    "profile of an unknown packing": (b"iCCP", b"profile\0\7abc"),
    "profile without a name": (b"iCCP", b"profile"),
    "short gamma": (b"gAMA", b"\0\1"),
    "short primaries": (b"cHRM", b"\0\1"),
    "empty rendering intent": (b"sRGB", b""),
    "short resolution": (b"pHYs", b"\0\0\1"),
    "short animation header": (b"acTL", b"\0\0\0"),
    "short frame header": (b"fcTL", b"\0\0\0\0"),
    "frame outside the picture": (b"fcTL", b"\0\0\0\0\0\0\0\x09" + bytes(18)),
    "EXIF that is none": (b"eXIf", b"no TIFF file"),
    "EXIF in a text": (b"tEXt", b"Raw profile type exif\0\nexif\n 32\n" + (b"Exif\0\0" + exif(6)).hex().encode()),
    "broken EXIF in a text": (b"tEXt", b"Raw profile type exif\0\nexif\n 32\nno hexadecimal digits"),
    "a text with a name of Pillow's: transparency": (b"tEXt", b"transparency\0\0"),
    "a text with a name of Pillow's: interlace": (b"tEXt", b"interlace\0yes"),
    "a text with a name of Pillow's: bbox": (b"tEXt", b"bbox\0\1\2\3\4"),
    "a text with a name of Pillow's: exif": (b"tEXt", b"exif\0" + exif(6)),
    "a private chunk": (b"prVt", b"\0" * 100_000),
}


def decode(data: bytes) -> NDArray[np.uint8]:
    return decode_image(data, ImageRecipe(HEIGHT, WIDTH, HEIGHT, (0.0,) * 3, (1.0,) * 3))


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("part", PNG_CHUNKS.values(), ids=PNG_CHUNKS)
def test_a_pngs_optional_chunks_leave_its_pixels_alone(part: tuple[bytes, bytes], behind: bool) -> None:
    data = png(WIDTH, HEIGHT, 8, 2, ROWS, after=part) if behind else png(WIDTH, HEIGHT, 8, 2, ROWS, part)
    np.testing.assert_array_equal(decode(data), PIXELS)


def test_seventy_megabytes_of_text_take_no_more_memory_than_the_file() -> None:
    texts = [(b"tEXt", b"k%d\0" % number + bytes(1_000_000)) for number in range(70)]
    data = png(WIDTH, HEIGHT, 8, 2, ROWS, *texts, (b"zTXt", b"Comment\0\0" + MILLIONS))
    tracemalloc.start()
    np.testing.assert_array_equal(decode(data), PIXELS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


@pytest.mark.parametrize("place", ["IDAT", "IEND"])
def test_a_wrong_checksum_of_a_text_does_not_matter(place: str) -> None:
    start = PLAIN["PNG"].index(place.encode()) - 4
    np.testing.assert_array_equal(decode(PLAIN["PNG"][:start] + WRONG_SUM + PLAIN["PNG"][start:]), PIXELS)


def test_exif_with_a_wrong_checksum_turns_nothing() -> None:
    damaged = bytearray(png(WIDTH, HEIGHT, 8, 2, ROWS, (b"eXIf", exif(3))))
    damaged[damaged.index(b"eXIf") - 1 + 5 + len(exif(3))] ^= 1
    np.testing.assert_array_equal(decode(bytes(damaged)), PIXELS)


@pytest.mark.parametrize("behind", [False, True])
def test_a_pngs_exif_turns_it_before_and_behind_the_pixels(behind: bool) -> None:
    part = (b"eXIf", exif(3))
    data = png(WIDTH, HEIGHT, 8, 2, ROWS, after=part) if behind else png(WIDTH, HEIGHT, 8, 2, ROWS, part)
    np.testing.assert_array_equal(decode(data), PIXELS[::-1, ::-1])


def test_of_two_exif_chunks_the_first_counts() -> None:
    data = png(WIDTH, HEIGHT, 8, 2, ROWS, (b"eXIf", exif(3)), (b"eXIf", exif(1)))
    np.testing.assert_array_equal(decode(data), PIXELS[::-1, ::-1])


def test_a_png_that_ends_in_a_text_behind_its_pixels_is_complete() -> None:
    data = png(WIDTH, HEIGHT, 8, 2, ROWS, after=(b"tEXt", b"a\0" + bytes(100)))
    np.testing.assert_array_equal(decode(data[:-60]), PIXELS)


JPEG_SEGMENTS = {
    "short JFIF": (0xE0, b"JFIF\0\1"),
    "only JFIF's name": (0xE0, b"JFIF"),
    "a preview": (0xE0, b"JFXX\0\x10" + PLAIN["JPEG"]),
    "only Adobe's name": (0xEE, b"Adobe"),
    "short Adobe": (0xEE, b"Adobe\0d\0\0"),
    "a profile without a number": (0xE2, b"ICC_PROFILE\0"),
    "the second half of a profile": (0xE2, b"ICC_PROFILE\0\2\2abc"),
    "broken Photoshop resources": (0xED, b"Photoshop 3.0\x008BIM\x03\xed\x05"),
    "short Photoshop resources": (0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\2ab"),
    "a list of pictures that is none": (0xE2, b"MPF\0II*\0\x08\0\0\0garbage"),
    "FlashPix": (0xE2, b"FPXR\0"),
    "EXIF that is none": (0xE1, b"Exif\0\0no TIFF file"),
    "EXIF that is cut": (0xE1, b"Exif\0\0" + exif(3)[:12]),
    "XMP that is cut": (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x tiff:Orientation"),
    "a comment of markers": (0xFE, b"\xff\xda\xff\xd9" * 100),
    "an empty segment": (0xE5, b""),
}


@pytest.mark.parametrize("part", JPEG_SEGMENTS.values(), ids=JPEG_SEGMENTS)
def test_a_jpegs_segments_leave_its_pixels_alone(part: tuple[int, bytes]) -> None:
    bare = without_jfif(PLAIN["JPEG"])
    for whole in (PLAIN["JPEG"], bare):
        np.testing.assert_array_equal(decode(with_segments(whole, part)), decode(bare))


def test_exif_of_two_segments_is_joined() -> None:
    long = exif(3) + bytes(40_000)
    data = with_segments(PLAIN["JPEG"], (0xE1, b"Exif\0\0" + long[:16]), (0xE1, b"Exif\0\0" + long[16:]))
    assert split_metadata(data)[1] == long
    stored = decode(PLAIN["JPEG"])
    np.testing.assert_array_equal(decode(data), stored[::-1, ::-1])


WEBP_CHUNKS = {
    "large XMP": (b"XMP ", LARGE),
    "a profile behind the pixels": (b"ICCP", b"no profile"),
    "EXIF that is none": (b"EXIF", b"no TIFF file"),
    "an unknown chunk": (b"abcd", b"123"),
}


@pytest.mark.parametrize("part", WEBP_CHUNKS.values(), ids=WEBP_CHUNKS)
def test_a_webps_metadata_leaves_its_pixels_alone(part: tuple[bytes, bytes]) -> None:
    np.testing.assert_array_equal(decode(webp(PLAIN["WebP"], WIDTH, HEIGHT, part)), PIXELS)


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", b"\xff\xff\0\0"])
def test_a_webp_whose_last_metadata_is_cut_or_claims_too_much_is_complete(length: bytes) -> None:
    data = webp(PLAIN["WebP"], WIDTH, HEIGHT, (b"EXIF", exif(3)), (b"XMP ", bytes(100)))
    start = data.index(b"XMP ") + 4
    for damaged in (data[:-30], data[:start] + length + data[start + 4 :]):
        np.testing.assert_array_equal(decode(damaged), PIXELS[::-1, ::-1])


def test_bytes_behind_a_webp_are_not_its_own() -> None:
    data = webp(PLAIN["WebP"], WIDTH, HEIGHT, (b"XMP ", b"<x>")) + b"junk, and more"
    np.testing.assert_array_equal(decode(data), PIXELS)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_picture_without_metadata_is_not_copied(kind: str) -> None:
    data = PLAIN[kind]
    assert split_metadata(data)[0] is data


@pytest.mark.parametrize("place", [b"IHDR", b"PLTE", b"tRNS"])
def test_damage_to_what_pixels_need_is_still_refused(place: bytes) -> None:
    extra = [(b"PLTE", bytes(range(48))), (b"tRNS", b"\0\1\2\3")]
    data = bytearray(png(WIDTH, HEIGHT, 8, 3, packed(PIXELS[:, :, 0] % 16, 8), *extra))
    start = data.index(place)
    data[start + 4 + int.from_bytes(data[start - 4 : start])] ^= 1
    with pytest.raises(UnreadableImageError, match="the PNG image is truncated or damaged"):
        decode(bytes(data))


def test_a_png_without_pixels_before_its_cut_is_refused() -> None:
    start = PLAIN["PNG"].index(b"IDAT") - 4
    for data in (MAGIC, PLAIN["PNG"][:start], PLAIN["PNG"][:start] + chunk(b"tEXt", b"a\0" + bytes(50))[:-20]):
        with pytest.raises(UnreadableImageError, match="the PNG image is truncated or damaged"):
            decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_pillow_writes_with_all_metadata_has_the_same_pixels(kind: str) -> None:
    options = {"exif": b"Exif\0\0" + exif(1), "xmp": LARGE[:60_000], "icc_profile": bytes(500), "lossless": True}
    with Image.open(BytesIO(encode(PIXELS, kind, **options))) as image:
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(decode(encode(PIXELS, kind, **options)), expected)
