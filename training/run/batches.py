"""The training set as augmented batches, one epoch after the other.

All randomness comes from the generator of the epoch, so an epoch that is repeated draws the same batches.
"""

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from training.data.augmentation.augment import auto_augment, color_jitter, crop_and_flip, cutout, rand_augment
from training.data.augmentation.random_crops import RandomCrops
from training.data.device_images import DeviceImages
from training.data.labelled_images import LabelledImages
from training.recipe.recipe import Recipe
from training.run.distributed import World
from training.run.schedule import image_size_at

__all__ = ["CHUNK_BYTES", "TrainingBatches"]

CHUNK_BYTES = 32 << 20  # pixels augmented at once: enough images to share operations, few enough for the cache


class TrainingBatches:
    """This process's share of every batch of an epoch.

    Args:
        recipe: batch size, augmentation and image sizes.
        data: the training set.
        device: where the batches are needed.
        world: the processes that share each batch.
        normalise: turns (B, 3, H, W) uint8 into normalised float32.

    """

    def __init__(
        self,
        recipe: Recipe,
        data: LabelledImages,
        device: torch.device,
        world: World,
        normalise: Callable[[Tensor], Tensor],
    ) -> None:
        self.recipe = recipe
        self.data = data
        self.world = world
        self.normalise = normalise
        self.pixels = DeviceImages(data, device)

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch; an incomplete last batch is left out, unless it is the only one."""
        return max(1, len(self.data) // self.recipe.batch_size)

    @property
    def images_per_epoch(self) -> int:
        """Images in an epoch's batches."""
        return min(len(self.data), self.per_epoch * self.recipe.batch_size)

    def of_epoch(self, epoch: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield normalised (B, 3, S, S) images and their (B,) labels, in random order.

        Args:
            epoch: the epoch, which decides the image size S and how images are drawn.
            generator: on the CPU.

        """
        batch = self.recipe.batch_size // self.world.size
        share = self.world.share
        order = self.order(epoch, generator)
        crops = RandomCrops.draw(len(order), generator).part(share) if self.recipe.random_resized_crop else None
        size = image_size_at(self.recipe, epoch)
        for pixels, labels in self.pixels.chunks(order[share], self._images_per_chunk(batch), crops):
            images = self._augment(pixels, generator)
            for start in range(0, len(labels), batch):
                ready = self._finish(images[start : start + batch], size, generator)
                yield ready, labels[start : start + batch]

    def order(self, epoch: int, generator: torch.Generator) -> npt.NDArray[np.int64]:
        """Return the indices of an epoch's images: a permutation or, in a second stage, all classes equally often."""
        count = self.images_per_epoch
        if epoch < self.recipe.first_stage_epochs:
            order: npt.NDArray[np.int64] = torch.randperm(len(self.data), generator=generator).numpy()
            return order[:count]
        rarity = 1.0 / torch.from_numpy(self.data.class_counts).double()
        weights = rarity[torch.from_numpy(self.data.labels)]
        drawn: npt.NDArray[np.int64] = torch.multinomial(weights, count, replacement=True, generator=generator).numpy()
        return drawn

    def _images_per_chunk(self, batch: int) -> int:
        image_bytes = self.recipe.height * self.recipe.width * 3
        return max(1, CHUNK_BYTES // image_bytes // self.recipe.batch_size) * batch

    def _augment(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Turn (B, H, W, 3) uint8 into (B, 3, H, W) uint8, shifted, flipped and recoloured as the recipe says."""
        recipe = self.recipe
        images = pixels.permute(0, 3, 1, 2)
        if recipe.crop_padding:
            images = crop_and_flip(pixels, recipe.crop_padding, generator)
        if (share := recipe.color_jitter) > 0:
            images = color_jitter(images, generator, brightness=share, contrast=share, saturation=share)
        if recipe.auto_augment:
            images = auto_augment(images, generator, recipe.auto_augment_policy)
        if recipe.rand_augment is not None:
            count, magnitude = recipe.rand_augment
            images = rand_augment(images, generator, count=count, magnitude=magnitude)
        return images

    def _finish(self, images: Tensor, size: int | None, generator: torch.Generator) -> Tensor:
        """Normalise, blank squares and shrink: (B, 3, H, W) uint8 -> (B, 3, S, S) float32, channels last."""
        images = self.normalise(images)
        if self.recipe.cutout:
            images = cutout(images, self.recipe.cutout, generator)
        if size is not None:
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        return images.contiguous(memory_format=torch.channels_last)
