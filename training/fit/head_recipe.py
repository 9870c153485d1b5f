"""How a head is trained on features, as one frozen value."""

import math
from dataclasses import dataclass

from training.errors import TrainingError

__all__ = ["LINEAR", "HeadRecipe"]

EPOCHS = 30
MIN_STEPS = 500


@dataclass(frozen=True)
class HeadRecipe:
    """How a head is trained; the defaults are those of a study, training/LOG.md.

    Attributes:
        epochs: times over all features; None is 30, and more for few features, so that there are 500 steps.
        learning_rate: at first; it falls to 0 along half a cosine.
        weight_decay: of the class weights.
        batch_size: features a step.
        momentum: of SGD.
        num_heads, tau, gamma: K, τ, γ of the de-confounded head.
        seed: of weights and order.

    """

    epochs: int | None = None
    learning_rate: float = 0.5
    weight_decay: float = 2e-3
    batch_size: int = 256
    momentum: float = 0.9
    num_heads: int = 2
    tau: float = 16.0
    gamma: float = 1 / 32
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with."""
        if self.epochs is not None and self.epochs < 1:
            raise TrainingError(f"--epochs {self.epochs}: at least 1")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise TrainingError(
                f"learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}: the first must be above 0, "
                "the second not below"
            )

    def steps_per_epoch(self, count: int) -> int:
        """Return how many whole batches so many features make; fewer than one batch are one step."""
        return max(1, count // self.batch_size)

    def epochs_for(self, count: int) -> int:
        """Return how often so many features are gone through."""
        return self.epochs or max(EPOCHS, math.ceil(MIN_STEPS / self.steps_per_epoch(count)))

    def sentence(self, count: int) -> str:
        """Say how a head is trained on so many features.

        >>> LINEAR.sentence(100_000)
        '30 epochs at learning rate 0.01 and weight decay 0.005'
        """
        rate = f"learning rate {self.learning_rate:g} and weight decay {self.weight_decay:g}"
        return f"{self.epochs_for(count)} epochs at {rate}"


LINEAR = HeadRecipe(learning_rate=0.01, weight_decay=5e-3)  # its own best, as its logits have no bound
