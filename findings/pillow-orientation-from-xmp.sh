#!/usr/bin/env bash
# Pillow finds an EXIF orientation in a picture without EXIF: it takes it from XMP, which OpenCV does not read.
#
# Expected: `getexif()` is the picture's EXIF and is empty if there is none. So `ImageOps.exif_transpose`, documented as
#   for "an EXIF Orientation tag", leaves the picture as it is.
# What happens: without an orientation in EXIF, `getexif()` searches the XMP packet for `tiff:Orientation` and reports
#   it as if EXIF said so, in JPEG, PNG and WebP. exif_transpose turns the picture. OpenCV, which obeys EXIF by default
#   in the same three formats, does not turn it.
# Why it matters here: one file has two orientations, in training (Pillow) and in a service with OpenCV, or the other
#   way round. The contract says EXIF, so `models/picture_metadata.py` keeps XMP from Pillow.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
  pillow==13.0.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
"$folder/env/bin/python" - <<'PYTHON'
import io
import sys

import cv2
import numpy as np
import PIL
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

ORIENTATION = 0x0112
XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>"""
exif = Image.Exif()
exif[ORIENTATION] = 6
text = PngInfo()
text.add_itxt("XML:com.adobe.xmp", XMP)


def look(form, **metadata):
    """Save a picture of 4 x 2 pixels and return its (width, height) after Pillow's exif_transpose, and in OpenCV."""
    file = io.BytesIO()
    Image.new("RGB", (4, 2)).save(file, form, **metadata)
    picture = Image.open(file)
    height, width, _ = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR).shape
    turned = ImageOps.exif_transpose(picture).size
    print(f"{form:5} {'EXIF' if 'exif' in picture.info else 'XMP':5}", end="")
    print(f"getexif() {dict(picture.getexif())}, Pillow {turned}, OpenCV {(width, height)}")
    return turned, (width, height)


print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}; a picture of 4 x 2 pixels, orientation 6")
forms = ("JPEG", "PNG", "WEBP")
by_exif = [look(form, exif=exif) for form in forms]
by_xmp = [look(form, **({"pnginfo": text} if form == "PNG" else {"xmp": XMP.encode()})) for form in forms]
as_described = by_exif == [((2, 4), (2, 4))] * 3 and by_xmp == [((2, 4), (4, 2))] * 3
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
