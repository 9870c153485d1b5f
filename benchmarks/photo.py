"""A generated picture of about 100 kB that compresses and decodes like a photograph, so that none need be shipped.

A photograph's spectrum falls with about 1/frequency, its colours are correlated, and it has edges. So the picture is
noise with that spectrum in brightness and, weaker and smoother, in colour, with a few filled shapes in front.
"""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

__all__ = ["photograph"]

SIZE = (640, 480)
TARGET_BYTES = 100_000


def photograph(seed: int = 0, target_bytes: int = TARGET_BYTES) -> bytes:
    """Return a seeded JPEG of 640 x 480 pixels, at the highest quality that stays within `target_bytes`."""
    rng = np.random.default_rng(seed)
    brightness = _field(rng, exponent=1.0)
    colours = [_field(rng, exponent=1.4) for _ in range(2)]
    red = 128 + 48 * brightness + 14 * colours[0]
    green = 124 + 48 * brightness - 7 * colours[0] - 7 * colours[1]
    blue = 116 + 46 * brightness + 16 * colours[1]
    image = Image.fromarray(np.stack([red, green, blue], axis=2).clip(0, 255).astype(np.uint8))
    shapes = image.copy()
    draw = ImageDraw.Draw(shapes)
    for _ in range(12):
        x = rng.integers(0, SIZE[0])
        y = rng.integers(0, SIZE[1])
        width, height = rng.integers(40, 200, 2)
        colour = tuple(rng.integers(20, 235, 3).tolist())
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape((int(x), int(y), int(x + width), int(y + height)), fill=colour)
    return _compress(Image.blend(image, shapes, 0.5), target_bytes)


def _field(rng: np.random.Generator, exponent: float) -> NDArray[np.float64]:
    """Return (480, 640) noise of mean 0 and standard deviation 1 whose amplitude falls with 1/frequency**exponent."""
    vertical = np.fft.fftfreq(SIZE[1])[:, None]
    horizontal = np.fft.rfftfreq(SIZE[0])[None]
    frequency = np.hypot(vertical, horizontal)
    frequency[0, 0] = np.inf  # no constant part
    spectrum = np.fft.rfft2(rng.standard_normal((SIZE[1], SIZE[0]))) / frequency**exponent
    field: NDArray[np.float64] = np.fft.irfft2(spectrum, s=(SIZE[1], SIZE[0]))
    return np.asarray(field / field.std(), np.float64)


def _compress(image: Image.Image, target_bytes: int) -> bytes:
    for quality in range(95, 10, -1):
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        if file.tell() <= target_bytes:
            break
    return file.getvalue()
