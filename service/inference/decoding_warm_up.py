"""The warm-up of picture decoding, which every server process runs once before it is ready.

Pillow imports the code for a format when it opens the first file of that format. WebP is not among the formats that it
tries first, so for the first WebP it imports the code for every format that it knows. The first picture after a start
would wait half a second for that. Importing the code for WebP registers that format alone.
"""

import io

import numpy as np
from PIL import Image
from PIL.WebPImagePlugin import WebPImageFile

from models.manifest import ImageRecipe
from models.preprocess import decode_image

__all__ = ["warm_up_decoding"]

ORIENTATION_TAG = 0x0112
ON_ITS_SIDE = 6
SIDE = 64
RECIPE = ImageRecipe(height=4, width=4, resize=4, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
MODES = {
    "JPEG": ("RGB", "L", "CMYK"),
    "PNG": ("RGB", "RGBA", "LA", "P", "1", "I;16"),
    WebPImageFile.format: ("RGB", "RGBA"),
}


def warm_up_decoding() -> None:
    """Decode one small picture of every format and mode as a request's picture is decoded."""
    for format_name, modes in MODES.items():
        for mode in modes:
            decode_image(_picture(format_name, mode), RECIPE)


def _picture(format_name: str, mode: str) -> bytes:
    """Return a picture that has to be turned upright and, if it is a JPEG, is decoded at a fraction of its size."""
    image = Image.fromarray(np.full((SIDE, SIDE), 1000, np.uint16)) if mode == "I;16" else Image.new(mode, (SIDE, SIDE))
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = ON_ITS_SIDE
    file = io.BytesIO()
    image.save(file, format_name, exif=exif)
    return file.getvalue()
