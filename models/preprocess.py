"""From a picture's bytes to the pixels the network was trained on: decode, turn upright, resize, crop.

Training and serving must agree on every step here, or accuracy drops without any error. Each unusual kind of
picture has one defined meaning (docs/reference/bundle-format.md, "Image recipe"), and the number of pixels is checked
before any is decoded. Resize and crop round as torchvision's Resize and CenterCrop do. A JPEG much larger than the
recipe asks for is decoded at a fraction of its size: 12 megapixels then take less than half the time, and the network
sees the same picture.
"""

import math
import warnings
from collections.abc import Callable
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from models.errors import ImageTooLargeError, UnreadableImageError
from models.manifest import ImageRecipe
from models.picture_colours import decode_rgb
from models.picture_headers import MAX_SCANS, count_scans, undecodable, unreadable, webp_size
from models.picture_metadata import split_metadata

__all__ = ["Box", "decode_image", "decode_region"]

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels

# Pillow's own limit warns or raises by other rules; `decode_image` checks ours before decoding.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of damage in metadata that is not used here. Each distinct warning would be logged and kept in memory.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

_FORMATS = ("JPEG", "PNG", "WEBP")
_JPEG = ("JPEG", "MPO")  # Pillow's name of a JPEG, and of one with further pictures after it
_SCALED_DOWN_TO = 4  # a scaled JPEG still has this many times the pixels of the resized picture along each side
_REGION_SCALED_DOWN_TO = 2  # likewise, for a part cut out at random, which has no exact place to keep
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {  # EXIF orientation -> what turns the stored picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode_image(data: bytes, recipe: ImageRecipe, *, max_pixels: int = 50_000_000) -> NDArray[np.uint8]:
    """Return the picture in `data` as the recipe's pixels.

    Args:
        data: a JPEG, PNG or WebP file.
        recipe: shorter side after resizing, and the size of the centre crop, in pixels.
        max_pixels: largest width x height accepted, of the file and of the resized picture.

    Returns:
        (height, width, 3) uint8 RGB, contiguous.

    Raises:
        UnreadableImageError: empty, no image, truncated or damaged.
        UnsupportedImageError: an image of another format.
        ImageTooLargeError: more than `max_pixels`; found out before decoding.

    """
    image, picture, exif = _open(data, max_pixels)
    size = image.size
    _check_resized(size, recipe.resize, max_pixels)
    box = _scale(image, _SCALED_DOWN_TO * recipe.resize)
    rgb = _decode(image, picture)
    if box:
        rgb = rgb.resize(_resized(size, recipe.resize), Image.Resampling.BILINEAR, box)
    orientation = _orientation(exif)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    return np.array(_resize_and_crop(rgb, recipe))


def decode_region(
    data: bytes, region: Callable[[int, int], Box], *, height: int, width: int, max_pixels: int = 50_000_000
) -> NDArray[np.uint8]:
    """Return a part of the picture in `data`, resized, for training. Limits and errors are those of `decode_image`.

    A JPEG is decoded at the smallest fraction of its size that leaves the part twice the pixels asked for.

    Args:
        data: the encoded picture.
        region: called with the width and height of the upright picture; returns the box to cut out.
        height: of the result, in pixels.
        width: of the result, in pixels.
        max_pixels: the largest picture that is decoded, width x height.

    Returns:
        (height, width, 3) uint8 RGB, contiguous.

    """
    image, picture, exif = _open(data, max_pixels)
    stored = image.size
    rgb = None if image.format in _JPEG else _decode(image, picture)  # only a JPEG's scale depends on the part
    orientation = _orientation(exif)
    turned = orientation >= 5  # the picture lies on its side: width and height are swapped
    box = _in_stored(region(*(stored[::-1] if turned else stored)), stored, orientation)
    size = (height, width) if turned else (width, height)
    if rgb is None:
        least = [_REGION_SCALED_DOWN_TO * size[i] * stored[i] / (box[i + 2] - box[i]) for i in (0, 1)]
        drafted = image.draft(None, (math.ceil(least[0]), math.ceil(least[1])))
        rgb = _decode(image, picture)
        if drafted and image.size != stored:
            across = drafted[1][2] / stored[0]
            down = drafted[1][3] / stored[1]
            box = box[0] * across, box[1] * down, box[2] * across, box[3] * down
    left = math.floor(box[0])
    top = math.floor(box[1])
    rgb = rgb.crop((left, top, min(math.ceil(box[2]), rgb.width), min(math.ceil(box[3]), rgb.height)))
    inner = box[0] - left, box[1] - top, min(box[2] - left, rgb.width), min(box[3] - top, rgb.height)
    part = rgb.resize(size, Image.Resampling.BILINEAR, inner)  # Pillow antialiases it, with no pixel from outside
    return np.array(part.transpose(_UPRIGHT[orientation]) if orientation in _UPRIGHT else part)


def _in_stored(box: Box, stored: tuple[int, int], orientation: int) -> Box:
    """Return the box in the stored picture that a box in the upright picture corresponds to."""
    left, top, right, bottom = box
    if orientation >= 5:
        left, top, right, bottom = top, left, bottom, right
    if orientation in (2, 3, 7, 8):
        left, right = stored[0] - right, stored[0] - left
    if orientation in (3, 4, 6, 7):
        top, bottom = stored[1] - bottom, stored[1] - top
    return left, top, right, bottom


def _open(data: bytes, max_pixels: int) -> tuple[ImageFile, bytes, bytes]:
    """Read the header only; return the image to decode, the bytes without metadata that it reads, and the EXIF data."""
    if not data:
        raise UnreadableImageError("the image is empty (0 bytes); send a JPEG, PNG or WebP file")
    _check_pixels(webp_size(data), max_pixels)
    picture, exif = split_metadata(data)
    try:
        image = Image.open(BytesIO(picture), formats=_FORMATS)
    except MemoryError:
        raise
    except Exception as error:
        raise unreadable(data) from error
    _check_pixels(image.size, max_pixels)
    if image.format in _JPEG and count_scans(image, picture) > MAX_SCANS:
        raise UnreadableImageError(
            f"the JPEG image is made of more than {MAX_SCANS} scans, which no camera or program writes; save it again"
        )
    return image, picture, exif


def _check_pixels(size: tuple[int, int], max_pixels: int) -> None:
    if size[0] * size[1] > max_pixels:
        raise ImageTooLargeError(
            f"the image has {size[0]} x {size[1]} pixels but at most {max_pixels} are accepted; send a smaller one"
        )


def _scale(image: Image.Image, at_least: int) -> tuple[float, float, float, float] | None:
    """Have a JPEG decoded at 1/8, 1/4 or 1/2: the smallest scale that leaves both sides at least `at_least` pixels.

    Returns:
        the box that the whole picture covers in the scaled one, whose last row and column may be fractions of a pixel;
        None if it is decoded at full size: a smaller JPEG, or another format.

    """
    size = image.size
    drafted = image.draft(None, (at_least, at_least))
    return drafted[1] if drafted and image.size != size else None


def _decode(image: ImageFile, picture: bytes) -> Image.Image:
    """Decode the (first) frame of what was opened from `picture` into RGB."""
    try:
        return decode_rgb(image, picture)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them to
        raise undecodable(picture, str(image.format), error) from error


def _orientation(exif: bytes) -> int:
    """Return the EXIF orientation; 1 (upright) if there is none or, as in browsers, if EXIF is unreadable."""
    if not exif:
        return 1
    tags = Image.Exif()
    try:
        tags.load(exif)
        value = tags.get(_ORIENTATION_TAG, 1)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # a damaged tag may raise anything
        return 1
    return value if isinstance(value, int) and value in _UPRIGHT else 1


def _check_resized(size: tuple[int, int], shorter: int, max_pixels: int) -> None:
    width, height = _resized(size, shorter)
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"the image has {size[0]} x {size[1]} pixels, which is too long and thin: with its shorter side "
            f"at {shorter} it would have {width} x {height}, but at most {max_pixels} pixels are accepted"
        )


def _resized(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Return the size whose shorter side is `shorter`; the longer one is cut to a whole pixel, as in torchvision."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def _resize_and_crop(rgb: Image.Image, recipe: ImageRecipe) -> Image.Image:
    """Resize and cut out the centre; if both are needed, only the pixels that are kept are computed."""
    (width, height) = _resized(rgb.size, recipe.resize)
    size = rgb.size
    left = round((width - recipe.width) / 2)
    top = round((height - recipe.height) / 2)
    box = left, top, left + recipe.width, top + recipe.height
    if size == (width, height):
        return rgb if size == (recipe.width, recipe.height) else rgb.crop(box)
    across = size[0] / width
    down = size[1] / height
    in_source = box[0] * across, box[1] * down, min(box[2] * across, size[0]), min(box[3] * down, size[1])
    return rgb.resize((recipe.width, recipe.height), Image.Resampling.BILINEAR, in_source)  # Pillow antialiases it
