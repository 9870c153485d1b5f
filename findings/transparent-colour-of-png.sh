#!/usr/bin/env bash
# The transparent colour of a PNG (tRNS): Pillow finds no pixel of it at most bit depths, OpenCV none in grey pictures.
#
# Expected: a pixel whose sample equals the tRNS chunk is transparent, at every bit depth and in grey as in RGB.
# What happens: Pillow scales samples to 8 bits when it opens the file (2 and 4 bits of grey up, 16 bits of RGB down),
#   but compares them with tRNS as it is in the file. After `convert("RGBA")` the pixels are opaque; with 1 and 8 bits
#   they are transparent. OpenCV's IMREAD_UNCHANGED gives RGB with tRNS an alpha channel, and grey with tRNS none.
# Why it matters here: the contract lays transparent pixels on white. Without a correction, the same grey drawing looks
#   different once a program stores it in 4 bits instead of 8, without loss. `models/picture_colours.py` therefore
#   scales the transparent colour as Pillow scales the pixels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check \
  pillow==13.0.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
"$folder/env/bin/python" - <<'PYTHON'
import io
import struct
import sys
import zlib

import cv2
import numpy as np
import PIL
from PIL import Image


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(depth, channels, transparent):
    """A picture of one pixel, which has the transparent colour."""
    bits = "".join(f"{sample:0{depth}b}" for sample in transparent)
    row = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8))
    header = struct.pack(">IIBBBBB", 1, 1, depth, 2 if channels == 3 else 0, 0, 0, 0)
    colour = struct.pack(f">{channels}H", *transparent)
    parts = [(b"IHDR", header), (b"tRNS", colour), (b"IDAT", zlib.compress(b"\0" + row)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


pictures = {f"grey, {depth} bits": png(depth, 1, [1]) for depth in (1, 2, 4, 8)}
pictures |= {"RGB, 8 bits": png(8, 3, [1, 2, 3]), "RGB, 16 bits": png(16, 3, [0x1234, 0x5678, 0x9ABC])}
print(f"Pillow {PIL.__version__}, OpenCV {cv2.__version__}; one pixel of the transparent colour: expected alpha 0")
found = []
for name, data in pictures.items():
    by_pillow = Image.open(io.BytesIO(data)).convert("RGBA").getpixel((0, 0))[3]
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    alpha = int(by_opencv[0, 0, 3]) if by_opencv.ndim == 3 and by_opencv.shape[2] == 4 else None
    found.append((by_pillow, alpha))
    print(f"{name:13} Pillow: alpha {by_pillow:3}, OpenCV: {by_opencv.shape}, alpha {alpha}")
as_described = found == [(0, None), (255, None), (255, None), (0, None), (0, 0), (255, 0)]
print("as described" if as_described else "the behaviour has changed")
sys.exit(not as_described)
PYTHON
