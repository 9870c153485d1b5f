"""Random crops of any size and shape, resized to the network's: how large pictures are augmented.

A crop is drawn before its picture is opened, as shares of the picture, and laid on it once its size is known. The same
crops can therefore be cut from pixels in memory, on any device, or while a file is decoded (`models/preprocess.py`,
`decode_region`); both resize with an antialiased bilinear filter and give the same pixels but for rounding, and but for
what decoding a JPEG at a fraction of its size changes.

Source: Szegedy et al., CVPR 2015, arXiv:1409.4842, section 6; tries and fall-back as torchvision's RandomResizedCrop.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

__all__ = ["RandomCrops", "crop_and_resize", "mirror", "resize_together"]

TRIES = 10
_AT_ONCE_BYTES = 64 << 20  # of float pixels


@dataclass(frozen=True)
class RandomCrops:
    """B crops that fit any picture.

    Attributes:
        tries: (B, 10, 4) uniform in 0..1: area, shape, left, top. The first that fits the picture is taken.
        flip: (B,) bool, mirrored or not.
        scale: smallest and largest share of the picture's area.
        ratio: smallest and largest width / height.

    """

    tries: NDArray[np.float64]
    flip: NDArray[np.bool_]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    @classmethod
    def draw(
        cls,
        count: int,
        generator: torch.Generator,
        *,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> Self:
        """Draw `count` crops from a generator on the CPU; half of them are mirrored."""
        tries = torch.rand((count, TRIES, 4), generator=generator, dtype=torch.float64).numpy()
        return cls(tries, (torch.rand(count, generator=generator) < 0.5).numpy(), scale, ratio)

    def __len__(self) -> int:
        """Return B."""
        return len(self.flip)

    def part(self, chosen: slice | NDArray[np.int64]) -> Self:
        """Return some of the crops."""
        return type(self)(self.tries[chosen], self.flip[chosen], self.scale, self.ratio)

    def box(self, index: int, width: int, height: int) -> tuple[int, int, int, int]:
        """Return where crop `index` lies on a picture of this size: left, top, right, bottom, whole pixels."""
        (low, high) = self.scale
        (narrow, wide) = (math.log(end) for end in self.ratio)
        for area, shape, left, top in self.tries[index].tolist():
            pixels = width * height * (low + (high - low) * area)
            ratio = math.exp(narrow + (wide - narrow) * shape)
            w = round(math.sqrt(pixels * ratio))
            h = round(math.sqrt(pixels / ratio))
            if 0 < w <= width and 0 < h <= height:
                x = int(left * (width - w + 1))
                y = int(top * (height - h + 1))
                return x, y, x + w, y + h
        # long and thin: the middle, as little cut off as the shape allows
        w = width
        h = height
        if width / height < self.ratio[0]:
            h = round(width / self.ratio[0])
        elif width / height > self.ratio[1]:
            w = round(height * self.ratio[1])
        x = (width - w) // 2
        y = (height - h) // 2
        return x, y, x + w, y + h

    def boxes(self, width: int, height: int) -> NDArray[np.int64]:
        """Return (B, 4): the box of every crop, all pictures being of this size."""
        return np.array([self.box(index, width, height) for index in range(len(self))], np.int64).reshape(-1, 4)

    def cut(self, images: Tensor, height: int, width: int) -> Tensor:
        """Cut each picture's crop out of pixels in memory, and mirror those that are to be.

        Args:
            images: (B, H, W, 3) uint8, on any device.
            height: of the result, in pixels.
            width: of the result, in pixels.

        Returns:
            (B, height, width, 3) uint8 on the same device.

        """
        boxes = self.boxes(images.shape[2], images.shape[1])
        return mirror(crop_and_resize(images, torch.from_numpy(boxes), height, width), torch.from_numpy(self.flip))


def mirror(images: Tensor, flip: Tensor) -> Tensor:
    """Mirror those of (B, H, W, 3) images that `flip`, (B,) bool on the CPU, says, in place; return them."""
    chosen = flip.nonzero()[:, 0].to(images.device, non_blocking=True)
    images[chosen] = images[chosen].flip(2)
    return images


def crop_and_resize(images: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Cut one box out of each image and resize it, antialiased bilinear.

    Args:
        images: (B, H, W, 3) uint8.
        boxes: (B, 4) int64 left, top, right, bottom in pixels, on the CPU.
        height: of the result, in pixels.
        width: of the result, in pixels.

    Returns:
        (B, height, width, 3) uint8 on the device of `images`.

    """
    if images.device.type != "cpu":
        return resize_together(images, boxes, height, width)
    result = torch.empty((len(images), height, width, 3), dtype=torch.uint8)
    for image, new, (left, top, right, bottom) in zip(images, result, boxes.tolist(), strict=True):
        part = image[top:bottom, left:right].permute(2, 0, 1)[None]  # channels last, for which torch has vector code
        new.copy_(functional.interpolate(part, (height, width), mode="bilinear", antialias=True)[0].permute(1, 2, 0))
    return result


def resize_together(images: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Do what `crop_and_resize` does by two matrix products for all images together, as a GPU likes it.

    Each output pixel is the mean of the input pixels around it, weighted by a triangle two pixels wide, or two output
    pixels where it shrinks. Weights are separable, so they are a (height, H) and a (width, W) matrix for each image.
    """
    count, high, wide, _ = images.shape
    boxes = boxes.to(images.device, torch.float32, non_blocking=True)
    result = torch.empty((count, height, width, 3), dtype=torch.uint8, device=images.device)
    step = max(1, _AT_ONCE_BYTES // (12 * high * wide))
    for part in (slice(start, start + step) for start in range(0, count, step)):
        left, top, right, bottom = boxes[part].T
        planes = images[part].permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        across = planes.flatten(1, 2) @ _weights(left, right, width, wide).mT  # (b, 3 H, width)
        down = _weights(top, bottom, height, high)[:, None] @ across.view(-1, 3, high, width)
        result[part] = down.round_().clamp_(0, 255).permute(0, 2, 3, 1)
    return result


def _weights(start: Tensor, end: Tensor, new: int, old: int) -> Tensor:
    """Return (b, new, old): how much of each old pixel goes into each new one; every row sums to 1."""
    start = start[:, None, None]
    end = end[:, None, None]
    scale = (end - start) / new
    centre = start + (torch.arange(new, device=start.device)[None, :, None] + 0.5) * scale
    pixels = torch.arange(old, device=start.device) + 0.5
    weights = (1.0 - ((pixels - centre) / scale.clamp(min=1.0)).abs()).clamp_(min=0.0)
    weights *= (pixels > start) & (pixels < end)  # nothing from outside the box
    return weights / weights.sum(dim=2, keepdim=True)
