"""Random crops of any size and shape, resized to the network's input: the augmentation of large pictures.

A crop is drawn as shares of a picture before the picture is opened, and placed when its size is known. The same crop
can therefore be cut from pixels in memory, on any device, or while a picture is decoded (`decode_region` in
`models/preprocess.py`). Both resize with an antialiased bilinear filter, and differ only by rounding and by the effect
of decoding a JPEG at a fraction of its size.

Source: Szegedy et al., CVPR 2015, arXiv:1409.4842, section 6; tries and fallback as in torchvision's RandomResizedCrop.
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
_MAX_CHUNK_BYTES = 64 << 20  # of float pixels


@dataclass(frozen=True)
class RandomCrops:
    """B crops for pictures of any size.

    Attributes:
        tries: (B, 10, 4) uniform in 0..1: area, shape, left, top. The first try that fits the picture is used.
        flip: (B,) bool, whether the crop is mirrored.
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
        """Return a subset of the crops."""
        return type(self)(self.tries[chosen], self.flip[chosen], self.scale, self.ratio)

    def box(self, index: int, width: int, height: int) -> tuple[int, int, int, int]:
        """Return the box of crop `index` in a picture of this size: left, top, right, bottom in whole pixels."""
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
        # a long, thin picture: crop the middle, as much of it as the shape allows
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
        """Return (B, 4) boxes of all crops in pictures of this size."""
        return np.array([self.box(index, width, height) for index in range(len(self))], np.int64).reshape(-1, 4)

    def cut(self, images: Tensor, height: int, width: int) -> Tensor:
        """Cut one crop out of each image, resize it, and mirror it if its `flip` says so.

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
    """Mirror the images (B, H, W, 3) that `flip`, (B,) bool on the CPU, selects; in place, and return all images."""
    chosen = flip.nonzero()[:, 0].to(images.device, non_blocking=True)
    images[chosen] = images[chosen].flip(2)
    return images


def crop_and_resize(images: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Cut one box out of each image and resize it with an antialiased bilinear filter.

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
        part = image[top:bottom, left:right].permute(2, 0, 1)[None]  # channels last: torch has vectorised code for it
        new.copy_(functional.interpolate(part, (height, width), mode="bilinear", antialias=True)[0].permute(1, 2, 0))
    return result


def resize_together(images: Tensor, boxes: Tensor, height: int, width: int) -> Tensor:
    """Do the same as `crop_and_resize` with two matrix products for all images, which is fast on a GPU.

    Each output pixel is the mean of the input pixels around it, weighted by a triangle that is two input pixels wide,
    or two output pixels if the image shrinks. The weights are separable: a (height, H) and a (width, W) matrix per
    image.
    """
    count, high, wide, _ = images.shape
    boxes = boxes.to(images.device, torch.float32, non_blocking=True)
    result = torch.empty((count, height, width, 3), dtype=torch.uint8, device=images.device)
    step = max(1, _MAX_CHUNK_BYTES // (12 * high * wide))
    for part in (slice(start, start + step) for start in range(0, count, step)):
        left, top, right, bottom = boxes[part].T
        planes = images[part].permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        across = planes.flatten(1, 2) @ _weights(left, right, width, wide).mT  # (b, 3 H, width)
        down = _weights(top, bottom, height, high)[:, None] @ across.view(-1, 3, high, width)
        result[part] = down.round_().clamp_(0, 255).permute(0, 2, 3, 1)
    return result


def _weights(start: Tensor, end: Tensor, new: int, old: int) -> Tensor:
    """Return (b, new, old): the weight of each old pixel in each new one; every row sums to 1."""
    start = start[:, None, None]
    end = end[:, None, None]
    scale = (end - start) / new
    centre = start + (torch.arange(new, device=start.device)[None, :, None] + 0.5) * scale
    pixels = torch.arange(old, device=start.device) + 0.5
    weights = (1.0 - ((pixels - centre) / scale.clamp(min=1.0)).abs()).clamp_(min=0.0)
    weights *= (pixels > start) & (pixels < end)  # pixels outside the box do not count
    return weights / weights.sum(dim=2, keepdim=True)
