#!/usr/bin/env bash
# From version 5, OpenCV's imread and imdecode return another picture for an animated PNG than before.
#
# Expected: a function that returns one picture returns the PNG's own picture (IDAT), the "default image". So the PNG
#   specification wants it of decoders that do not animate; OpenCV 4.10 and Pillow do so.
# What happens: OpenCV 5.0 returns the first frame of the animation. If the default image is no part of the animation,
#   these are two different pictures, and the default image cannot be had any more.
# Why it matters here: the default image is a title or still that people chose; a data set labelled and trained with one
#   version is read with other pixels by the next, without an error. The contract says the default image.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for version in 4.10.0.84 5.0.0.93; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check \
    pillow==13.0.0 numpy==2.4.6 "opencv-python-headless==$version"
done
cat > "$folder/look.py" <<'PYTHON'
import io

import cv2
import numpy as np
import PIL
from PIL import Image

GREEN, RED, BLUE = (0, 128, 0), (255, 0, 0), (0, 0, 255)
still, *frames = (Image.new("RGB", (2, 2), colour) for colour in (GREEN, RED, BLUE))
file = io.BytesIO()
still.save(file, "PNG", save_all=True, append_images=frames, default_image=True)
data = np.frombuffer(file.getvalue(), np.uint8)
colours = {
    "imdecode": tuple(cv2.imdecode(data, cv2.IMREAD_COLOR)[0, 0, ::-1].tolist()),
    "imdecode, unchanged": tuple(cv2.imdecode(data, cv2.IMREAD_UNCHANGED)[0, 0, 2::-1].tolist()),
    f"Pillow {PIL.__version__}": Image.open(file).convert("RGB").getpixel((0, 0)),
}
print(f"OpenCV {cv2.__version__}; default image {GREEN}, frames {RED} and {BLUE}; read:", colours)
raise SystemExit(list(colours.values()) != [RED if cv2.__version__ > "5" else GREEN] * 2 + [GREEN])
PYTHON
for version in 4.10.0.84 5.0.0.93; do
  "$folder/$version/bin/python" "$folder/look.py" || { echo "the behaviour has changed"; exit 1; }
done
echo "as described"
