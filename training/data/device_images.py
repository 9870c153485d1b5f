"""Images on the device that trains, in chunks, from GPU memory, main memory or files.

A small data set is copied to the GPU once; an epoch then transfers only indices. Images that are decoded from files are
decoded one chunk ahead, while the network trains on the current chunk.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.augmentation.random_crops import RandomCrops
from training.data.labelled_images import LabelledImages
from training.data.prefetch import prefetch

__all__ = ["DeviceImages"]

MAX_SHARE_OF_GPU = 0.5  # of the free memory; the network needs the rest


class DeviceImages:
    """The pixels and labels of a data set on a device, in chunks.

    Attributes:
        resident: (N, H, W, 3) uint8, if the whole data set is on the device; otherwise None.
        labels: (N,) int64 on the device.

    """

    def __init__(self, data: LabelledImages, device: torch.device) -> None:
        self.data = data
        self.device = device
        self.labels = torch.from_numpy(data.labels).to(device)
        self.resident: Tensor | None = None
        if data.pixels is not None and (device.type == "cpu" or data.pixels.nbytes <= _max_resident_bytes(device)):
            self.resident = torch.from_numpy(data.pixels).to(device)  # on the CPU, this shares memory

    def chunks(
        self, order: NDArray[np.int64], per_chunk: int, crops: RandomCrops | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (b, H, W, 3) uint8 pixels and (b,) labels on the device; the last chunk may be smaller.

        Args:
            order: (n,) indices of images.
            per_chunk: images per chunk.
            crops: n random crops, one per index; None prepares the images as for evaluation.

        Raises:
            DataError: a picture cannot be read.

        """
        parts = [slice(start, start + per_chunk) for start in range(0, len(order), per_chunk)]
        if self.resident is not None:
            for part in parts:
                yield self._resident_chunk(self.resident, order[part], None if crops is None else crops.part(part))
            return
        fetched = (self._fetch(order[part], None if crops is None else crops.part(part)) for part in parts)
        for part, pixels in zip(parts, prefetch(fetched), strict=True):
            yield pixels.to(self.device, non_blocking=True), self._labels(order[part])

    def _resident_chunk(
        self, resident: Tensor, indices: NDArray[np.int64], crops: RandomCrops | None
    ) -> tuple[Tensor, Tensor]:
        pixels = resident.index_select(0, torch.from_numpy(indices).to(self.device, non_blocking=True))
        if crops is not None:
            pixels = crops.cut(pixels, *pixels.shape[1:3])
        return pixels, self._labels(indices)

    def _fetch(self, indices: NDArray[np.int64], crops: RandomCrops | None) -> Tensor:
        pixels = torch.from_numpy(self.data.fetch(indices, crops))
        return pixels.pin_memory() if self.device.type == "cuda" else pixels

    def _labels(self, indices: NDArray[np.int64]) -> Tensor:
        return self.labels.index_select(0, torch.from_numpy(indices).to(self.device, non_blocking=True))


def _max_resident_bytes(device: torch.device) -> float:
    """Return how many bytes of pixels may stay on the GPU."""
    free, _ = torch.cuda.mem_get_info(device)
    return MAX_SHARE_OF_GPU * free
