"""What the command line of `train` says besides the recipe."""

from dataclasses import dataclass
from pathlib import Path

from training.data.options import DataOptions

__all__ = ["TrainOptions"]


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """The data set, the run folder, and where and how to compute.

    Attributes:
        data: the data set.
        out: the run folder.
        seed: the seed of weights, order and augmentation.
        device: `auto`, `cpu` or `cuda`.
        precision: `auto`, `float32` or `bfloat16`.
        threads: torch's CPU threads; None for one per core.
        weights: a file of pretrained weights to start from.
        set_fields: the recipe's fields that the user set, which nothing else overrides.
        compiled: compile the network before the first step.
        resume: continue the run in `out` if there is one.
        command: the command as typed, for the model card.

    """

    data: DataOptions | Path
    out: Path
    seed: int = 0
    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    weights: Path | None = None
    set_fields: frozenset[str] = frozenset()
    compiled: bool = False
    resume: bool = False
    command: str = ""
