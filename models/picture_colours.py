"""Every way in which a picture can store its colours becomes RGB of 8 bits.

docs/reference/bundle-format.md, "Image recipe", has the table. Transparent pixels show white. Pillow compares a PNG's
transparent colour with pixels that it has scaled to 8 bits, so the colour is scaled here in the same way.
"""

from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

__all__ = ["decode_rgb"]

_AT_A_TIME = 1 << 18  # pixels
_GREY_STEPS = {"L;2": 85, "L;4": 17}  # Pillow's name of greyscale of 2 and 4 bits -> the factor to 8 bits
_WIDE_COLOUR = "RGB;16B"


def decode_rgb(image: ImageFile, picture: bytes) -> Image.Image:
    """Decode the first frame of an opened picture into RGB.

    Args:
        image: not decoded yet.
        picture: the bytes that it was opened from.

    """
    stored = str(image.tile[0].args) if "transparency" in image.info else ""
    image.load()
    if image.mode in ("I;16", "I"):  # PNG, 16-bit greyscale; RGB of 16 bits arrives here as its upper 8
        return Image.fromarray(_upper_bits(np.asarray(image), image.info.get("transparency"))).convert("RGB")
    if stored == _WIDE_COLOUR:
        return _white_where(image, _lower_bits(picture), image.info["transparency"])
    if stored in _GREY_STEPS:
        step = _GREY_STEPS[stored]
        image.info["transparency"] = image.info["transparency"] % (255 // step + 1) * step
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # converting RGB to RGB would copy it


def _upper_bits(wide: NDArray[Any], transparent: int | None) -> NDArray[np.uint8]:
    """Return (H, W) grey values of 16 bits as 8, a transparent one as white; some rows at a time, for the memory."""
    grey = np.empty(wide.shape, np.uint8)
    step = max(1, _AT_A_TIME // wide.shape[1])
    for start in range(0, len(wide), step):
        rows = wide[start : start + step].astype(np.int32)
        eight = ((rows + 128) // 257).clip(0, 255)  # to the nearest: there are no ties, 257 is odd
        if transparent is not None:
            eight[rows == transparent] = 255
        grey[start : start + step] = eight
    return grey


def _lower_bits(picture: bytes) -> Image.Image:
    """Return the lower 8 bits of a PNG's 16-bit colours, which Pillow drops: it reads them if told the other order."""
    image = Image.open(BytesIO(picture), formats=("PNG",))
    image.tile = [image.tile[0]._replace(args="RGB;16L")]
    image.load()
    return image


def _white_where(upper: Image.Image, lower: Image.Image, transparent: tuple[int, int, int]) -> Image.Image:
    """Return the upper bits as RGB, white where upper and lower bits are those of the transparent colour."""
    rgb = np.array(upper)
    for start in range(0, len(rgb), step := max(1, _AT_A_TIME // upper.width)):
        box = (0, start, upper.width, min(start + step, upper.height))
        rows = rgb[start : start + step]
        wide = rows.astype(np.int32) * 256 + np.asarray(lower.crop(box))
        rows[(wide == transparent).all(axis=2)] = 255
    return Image.fromarray(rgb)
