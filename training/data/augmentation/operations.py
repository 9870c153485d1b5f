"""The operations of augmentation policies, each on many images at once.

Each image comes out as torchvision would change it. The CPU runs ahead of a GPU: indices and factors are sent without
waiting, and nothing is sent back. Geometric operations move whole pixels (nearest neighbour). torchvision moves the
pixel indices once per size and strength; every image is then one look-up in that map. Operations that blend an image
with a weaker version of itself take one factor per image.

Source: torchvision.transforms.functional; strengths as in its AutoAugment and RandAugment.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torchvision.transforms.v2 import functional as F

__all__ = [
    "FILL",
    "OPERATIONS",
    "SIGNED",
    "STRENGTHLESS",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_saturation",
    "adjust_sharpness",
    "apply_operation",
    "magnitude_of",
]

FILL = [128.0, 128.0, 128.0]  # the grey that AutoAugment puts where a geometric operation leaves no pixel
GREY_WEIGHTS = (0.2989, 0.587, 0.114)
MAX_MAGNITUDES = {"Shear": 0.3, "Rotate": 30.0, "Brightness": 0.9, "Color": 0.9, "Contrast": 0.9, "Sharpness": 0.9}
SIGNED = {"ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast", "Sharpness"}
STRENGTHLESS = {"Identity", "AutoContrast", "Equalize", "Invert"}


def apply_operation(images: Tensor, operation: str, magnitude: float) -> Tensor:
    """Apply one operation in the same way to all images.

    Args:
        images: (B, 3, H, W) uint8.
        operation: one of `OPERATIONS`, the names in torchvision's policy tables.
        magnitude: as `magnitude_of` returns it; negative for the opposite direction if the operation is in `SIGNED`.

    Returns:
        (B, 3, H, W) uint8.

    """
    return OPERATIONS[operation](images, magnitude)


def magnitude_of(operation: str, level: int, levels: int, height: int, width: int) -> float:
    """Return the strength of an operation at a level from 0 to `levels`, bit-identical to torchvision's.

    Returns:
        The slope of a shear, pixels of a translation, degrees of Rotate, bits that Posterize keeps, the smallest value
        that Solarize inverts, or the blending factor minus 1; 0 for operations in `STRENGTHLESS`.

    """
    if operation in STRENGTHLESS:
        return 0.0
    if operation == "Posterize":
        return 8.0 - round(4 * level / levels)
    largest = {"Translate": 150.0 / 331.0 * (width if operation[-1] == "X" else height)} | MAX_MAGNITUDES
    ends = (255.0, 0.0) if operation == "Solarize" else (0.0, largest[operation.rstrip("XY")])
    return torch.linspace(*ends, levels + 1)[level].item()


def adjust_brightness(images: Tensor, factors: Tensor | float) -> Tensor:
    """Blend (B, 3, H, W) uint8 images with black; `factors` (one or (B,), at least 0): 0 is black, 1 is unchanged."""
    return _clamped(images.float().mul_(_per_image(factors, images)))


def adjust_saturation(images: Tensor, factors: Tensor | float) -> Tensor:
    """Blend (B, 3, H, W) uint8 images with their greyscale version; 0 is greyscale, 1 is unchanged."""
    pixels = images.float()
    factors = _per_image(factors, images)
    grey = _grey(pixels).mul_(1.0 - factors)
    return _clamped(pixels.mul_(factors).add_(grey))


def adjust_contrast(images: Tensor, factors: Tensor | float) -> Tensor:
    """Blend (B, 3, H, W) uint8 images with their mean grey; 0 is uniform grey, 1 is unchanged."""
    pixels = images.float()
    factors = _per_image(factors, images)
    mean = _grey(pixels).mean(dim=(1, 2, 3), keepdim=True).mul_(1.0 - factors)
    return _clamped(pixels.mul_(factors).add_(mean))


def adjust_sharpness(images: Tensor, factors: Tensor | float) -> Tensor:
    """Blend the inner pixels of (B, 3, H, W) uint8 images with a blurred version; 0 is blurred, 1 is unchanged."""
    if min(images.shape[-2:]) <= 2:
        return images
    pixels = images.float()
    factors = _per_image(factors, images)
    kernel = torch.ones((3, 1, 3, 3), device=images.device)
    kernel[:, :, 1, 1] = 5.0
    blurred = (
        conv2d(pixels, kernel, groups=3).div_(13.0).round_()
    )  # exact up to here: sums of integers, at any precision
    inner = pixels[..., 1:-1, 1:-1]
    inner.add_(blurred.sub_(inner).mul_(1.0 - factors))
    return _clamped(pixels)


def _per_image(factors: Tensor | float, images: Tensor) -> Tensor:
    return torch.as_tensor(factors, dtype=torch.float32).to(images.device, non_blocking=True).view(-1, 1, 1, 1)


def _grey(pixels: Tensor) -> Tensor:
    red, green, blue = (plane * weight for plane, weight in zip(pixels.unbind(dim=1), GREY_WEIGHTS, strict=True))
    return red.add_(green).add_(blue).floor_().unsqueeze_(1)


def _clamped(pixels: Tensor) -> Tensor:
    return pixels.clamp_(0.0, 255.0).to(torch.uint8)


def _move(images: Tensor, **transform: float) -> Tensor:
    """Move the pixels of (B, 3, H, W) images by one transform, filling with grey."""
    count, channels, height, width = images.shape
    source = _source(height, width, images.device, **transform)
    rows = images.permute(0, 2, 3, 1).reshape(count, height * width, channels)
    fill = torch.full((count, 1, channels), int(FILL[0]), dtype=images.dtype, device=images.device)
    moved = torch.cat([rows, fill], dim=1).index_select(1, source)
    return moved.view(count, height, width, channels).permute(0, 3, 1, 2)


@lru_cache(maxsize=256)
def _source(
    height: int,
    width: int,
    device: torch.device,
    *,
    angle: float = 0.0,
    right: int = 0,
    down: int = 0,
    shear_x: float = 0.0,
    shear_y: float = 0.0,
) -> Tensor:
    """Return (H·W,) int64: the index of the pixel that moves to each position, or H·W for none."""
    pixels = height * width
    # 0 stands for no pixel. float32 is exact up to 16 megapixels; in float64, torchvision would round ties differently.
    numbers = torch.arange(1, pixels + 1, dtype=torch.float32).view(1, 1, height, width)
    if angle:
        moved = F.rotate(numbers, angle, fill=[0.0])
    else:
        center = [0, 0] if shear_x or shear_y else None
        moved = F.affine(numbers, 0.0, [right, down], 1.0, [shear_x, shear_y], fill=[0.0], center=center)
    source = moved.long().flatten() - 1
    return torch.where(source < 0, pixels, source).to(device, non_blocking=True)


def _solarize(images: Tensor, threshold: float) -> Tensor:
    inverted = (images >= math.ceil(threshold)).to(torch.uint8).mul_(255)
    return images ^ inverted  # flipping every bit of x gives 255 - x


OPERATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "Identity": lambda x, _: x,
    "ShearX": lambda x, slope: _move(x, shear_x=math.degrees(math.atan(slope))),
    "ShearY": lambda x, slope: _move(x, shear_y=math.degrees(math.atan(slope))),
    "TranslateX": lambda x, pixels: _move(x, right=int(pixels)),
    "TranslateY": lambda x, pixels: _move(x, down=int(pixels)),
    "Rotate": lambda x, degrees: _move(x, angle=degrees),
    "Brightness": lambda x, more: adjust_brightness(x, 1.0 + more),
    "Color": lambda x, more: adjust_saturation(x, 1.0 + more),
    "Contrast": lambda x, more: adjust_contrast(x, 1.0 + more),
    "Sharpness": lambda x, more: adjust_sharpness(x, 1.0 + more),
    "Posterize": lambda x, bits: F.posterize(x, int(bits)),
    "Solarize": _solarize,
    "AutoContrast": lambda x, _: F.autocontrast(x.contiguous()),  # contiguous planes make it four times as fast
    "Equalize": lambda x, _: F.equalize(x),
    "Invert": lambda x, _: F.invert(x),
}
