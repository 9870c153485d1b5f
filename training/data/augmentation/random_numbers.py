"""Random numbers for images that do not depend on the number of training processes.

If P processes share a batch, process p has every P-th image, starting with the p-th. Each process draws the numbers of
the whole batch, which is cheap, and keeps those of its own images. An image is therefore augmented in the same way
regardless of the number of processes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["SharedGenerator", "integers", "uniform"]


class SharedGenerator(torch.Generator):
    """A generator on the CPU that knows which images belong to this process.

    Attributes:
        share: selects this process's images from those of a whole batch or chunk.
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
    """Draw uniform numbers from 0 to 1.

    Args:
        shape: of the result.
        generator: on the CPU; one that is not a `SharedGenerator` draws only for these images.
        images: the dimension of `shape` that counts the images of this process.
        dtype: of the result.

    """
    return _own_part(
        torch.rand(_whole_shape(shape, generator, images), generator=generator, dtype=dtype), generator, images
    )


def integers(high: int, shape: Sequence[int], generator: torch.Generator, *, images: int = 0) -> Tensor:
    """Draw integers from 0 to `high` - 1; see `uniform` for the arguments."""
    return _own_part(
        torch.randint(0, high, _whole_shape(shape, generator, images), generator=generator), generator, images
    )


def _whole_shape(shape: Sequence[int], generator: torch.Generator, images: int) -> list[int]:
    size = generator.size if isinstance(generator, SharedGenerator) else 1
    return [count * size if dimension == images else count for dimension, count in enumerate(shape)]


def _own_part(drawn: Tensor, generator: torch.Generator, images: int) -> Tensor:
    if not isinstance(generator, SharedGenerator):
        return drawn
    return drawn[(slice(None),) * images + (generator.share,)]
