"""Random numbers for images, alike however many processes share the images.

Where P processes share a batch, process p has every P-th image of it from the p-th on. Each draws the numbers of the
whole batch and keeps those of its own images: numbers are cheap, and what is done with them is not. An image is thus
augmented in the same way whether one process trains or many.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["SharedGenerator", "integers", "uniform"]


class SharedGenerator(torch.Generator):
    """A generator on the CPU that knows which share of the images is this process's.

    Attributes:
        share: of the images of a whole batch or chunk, those of this process.
        size: number of processes.

    """

    share: slice
    size: int

    @classmethod
    def seeded(cls, seed: int, *, rank: int, size: int) -> "SharedGenerator":
        """Return the generator of process `rank` of `size`."""
        generator = cls()
        generator.manual_seed(seed)
        generator.share = slice(rank, None, size)
        generator.size = size
        return generator


def uniform(
    shape: Sequence[int], generator: torch.Generator, *, images: int = 0, dtype: torch.dtype | None = None
) -> Tensor:
    """Draw numbers uniform in 0..1.

    Args:
        shape: of the result.
        generator: on the CPU; a plain one draws for these images only.
        images: the dimension of `shape` that counts this process's images.
        dtype: of the result.

    """
    return _own(torch.rand(_whole(shape, generator, images), generator=generator, dtype=dtype), generator, images)


def integers(high: int, shape: Sequence[int], generator: torch.Generator, *, images: int = 0) -> Tensor:
    """Draw whole numbers from 0 up to `high`, excluded; the rest as in `uniform`."""
    return _own(torch.randint(0, high, _whole(shape, generator, images), generator=generator), generator, images)


def _whole(shape: Sequence[int], generator: torch.Generator, images: int) -> list[int]:
    size = generator.size if isinstance(generator, SharedGenerator) else 1
    return [count * size if dimension == images else count for dimension, count in enumerate(shape)]


def _own(drawn: Tensor, generator: torch.Generator, images: int) -> Tensor:
    if not isinstance(generator, SharedGenerator):
        return drawn
    return drawn[(slice(None),) * images + (generator.share,)]
