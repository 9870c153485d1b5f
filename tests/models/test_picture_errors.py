"""A picture that cannot be decoded gets one of a few sentences, never a text of the decoder's own."""

import re
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models.errors import ImageError, UnreadableImageError, UnsupportedImageError
from models.manifest import ImageRecipe
from models.preprocess import decode_image
from tests.models.pictures_by_hand import chunk, encode, exif, packed, png

RECIPE = ImageRecipe(4, 4, 5, (0.0,) * 3, (1.0,) * 3)
PIXELS = np.random.default_rng(4).integers(0, 256, (48, 64, 3), dtype=np.uint8)
SENTENCES = re.compile(
    r"the (JPEG|PNG|WebP) image is truncated or damaged: "
    r"(its header cannot be read|its pixels cannot be decoded|the file ends before its last pixel); "
    r"save or send it again"
    r"|these bytes are not an image; send a JPEG, PNG or WebP file"
    r"|the image has \d+ x \d+ pixels but at most 50000000 are accepted; send a smaller one"
    r"|the image has \d+ x \d+ pixels, which is too long and thin: with its shorter side at 5 it would have \d+ x \d+, "
    r"but at most 50000000 pixels are accepted"
    r"|the JPEG image (has \d+ bits a channel|has \d+ channels|is lossless, hierarchical or JPEG-LS); "
    r"save it as an ordinary JPEG, of 8 bits and 1, 3 or 4 channels, or as PNG"
    r"|the JPEG image is made of more than 100 scans, which no camera or program writes; save it again"
)
PALETTE = png(
    *(64, 48, 4, 3, packed(PIXELS[:, :, 0] % 16, 4), (b"PLTE", bytes(range(48))), (b"tRNS", b"\0\1\2\3")),
    after=(b"tEXt", b"a\0b"),
)
PICTURES = {
    "JPEG": encode(PIXELS, "JPEG", exif=b"Exif\0\0" + exif(6)),
    "progressive JPEG": encode(PIXELS, "JPEG", progressive=True),
    "CMYK JPEG": encode(Image.fromarray(PIXELS).convert("CMYK"), "JPEG"),
    "PNG": encode(PIXELS, "PNG", exif=b"Exif\0\0" + exif(6)),
    "palette PNG": PALETTE,
    "16-bit PNG": png(8, 6, 16, 2, packed(PIXELS[:6, :8].reshape(6, -1).astype(np.int64), 16), (b"tRNS", bytes(6))),
    "animated PNG": encode(PIXELS, "PNG", save_all=True, append_images=[Image.fromarray(255 - PIXELS)]),
    "WebP": encode(PIXELS, "WEBP"),
    "lossless WebP": encode(PIXELS, "WEBP", lossless=True, exif=b"Exif\0\0" + exif(6)),
    "animated WebP": encode(PIXELS, "WEBP", save_all=True, append_images=[Image.fromarray(255 - PIXELS)]),
}


def damaged(data: bytes, kind: str) -> list[bytes]:
    """Cut the file in 60 places; and change, insert, delete and blank bytes in some, more of them in its header."""
    random = np.random.default_rng(len(kind))
    places = [*range(2, 62), *random.integers(0, len(data), 60).tolist()]
    noise = random.bytes(len(places) * 4)
    found = [data[:place] for place in places]
    for number, place in enumerate(places):
        other = noise[4 * number : 4 * number + 1 + number % 4]
        found += [
            data[:place] + other + data[place + len(other) :],
            data[:place] + other + data[place:],
            data[:place] + data[place + len(other) :],
            data[:place] + bytes(8) + data[place + 8 :],
            data[:place] + b"\xff" * 4 + data[place + 4 :],
        ]
    return found


@pytest.mark.parametrize("kind", PICTURES)
def test_every_kind_of_damage_gets_one_of_our_sentences(kind: str) -> None:
    sentences = [sentence for data in damaged(PICTURES[kind], kind) if (sentence := refusal(data))]
    assert len(sentences) > 50
    assert [sentence for sentence in sentences if not SENTENCES.fullmatch(sentence)] == []


@pytest.mark.parametrize("part", [b"IHDR", b"PLTE", b"tRNS"])
def test_a_wrong_checksum_is_told_in_words(part: bytes) -> None:
    data = bytearray(PALETTE)
    start = data.index(part)
    data[start + 4 + int.from_bytes(data[start - 4 : start])] ^= 1
    assert refusal(bytes(data)) == (
        "the PNG image is truncated or damaged: its header cannot be read; save or send it again"
    )


@pytest.mark.parametrize("name", [b"\0\xff{}", b"b'a'", b"<o> "])
def test_a_chunk_without_a_name_is_told_in_words(name: bytes) -> None:
    whole = PICTURES["PNG"]
    start = whole.index(b"IDAT") - 4
    assert refusal(whole[:start] + chunk(name, b"") + whole[start:]) == (
        "the PNG image is truncated or damaged: its header cannot be read; save or send it again"
    )


def with_frame(kind: int, **changes: int) -> bytes:
    """Return a JPEG whose frame header has another marker, precision (at 4) or number of channels (at 9)."""
    data = bytearray(PICTURES["JPEG"])
    start = data.index(b"\xff\xc0")
    data[start + 1] = kind
    for place, value in changes.items():
        data[start + {"bits": 4, "channels": 9}[place]] = value
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (with_frame(0xC1, bits=12), "has 12 bits a channel"),
        (with_frame(0xC0, channels=2), "has 2 channels"),
        (with_frame(0xC3), "is lossless, hierarchical or JPEG-LS"),
        (with_frame(0xF7), "is lossless, hierarchical or JPEG-LS"),
    ],
)
def test_a_jpeg_of_a_rare_kind_is_not_called_damaged(data: bytes, what: str) -> None:
    with pytest.raises(UnsupportedImageError, match=f"^the JPEG image {what}; save it as an ordinary JPEG"):
        decode_image(data, RECIPE)


def test_the_decoders_own_words_stay_in_the_cause() -> None:
    with pytest.raises(UnreadableImageError) as caught:
        decode_image(PICTURES["PNG"][:-200], RECIPE)
    assert "truncated" in str(caught.value.__cause__)


def refusal(data: bytes) -> str:
    """Return the error's sentence; empty if the picture is decoded."""
    try:
        pixels: NDArray[Any] = decode_image(data, RECIPE)
    except ImageError as error:
        return str(error)
    assert pixels.shape == (4, 4, 3)
    return ""
