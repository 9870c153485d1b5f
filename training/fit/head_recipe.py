"""The settings that a head is trained with."""

import math
from dataclasses import dataclass

from training.errors import TrainingError

__all__ = ["LINEAR", "HeadRecipe"]

EPOCHS = 30
MIN_STEPS = 500


@dataclass(frozen=True)
class HeadRecipe:
    """How a head is trained. The defaults come from a study in training/LOG.md.

    Attributes:
        epochs: passes over all features; None is 30, or more if there are few features, for at least 500 steps.
        learning_rate: the initial learning rate; it falls to 0 along half a cosine.
        weight_decay: the weight decay of the class weights.
        batch_size: the number of features in a step.
        momentum: the momentum of SGD.
        num_heads: K of the de-confounded head.
        tau: τ of the de-confounded head.
        gamma: γ of the de-confounded head.
        seed: the seed of the initial weights and the order.

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
        """Check that these settings can be trained with."""
        if self.epochs is not None and self.epochs < 1:
            raise TrainingError(f"--epochs {self.epochs}: must be at least 1")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise TrainingError(
                f"learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}: the learning rate must be "
                "above 0, the weight decay at least 0"
            )

    def steps_per_epoch(self, count: int) -> int:
        """Return the number of whole batches in `count` features; fewer features than a batch are one step."""
        return max(1, count // self.batch_size)

    def epochs_for(self, count: int) -> int:
        """Return the number of passes over `count` features."""
        return self.epochs or max(EPOCHS, math.ceil(MIN_STEPS / self.steps_per_epoch(count)))

    def sentence(self, count: int) -> str:
        """Describe how a head is trained on `count` features.

        >>> LINEAR.sentence(100_000)
        '30 epochs at learning rate 0.01 and weight decay 0.005'
        """
        rate = f"learning rate {self.learning_rate:g} and weight decay {self.weight_decay:g}"
        return f"{self.epochs_for(count)} epochs at {rate}"


LINEAR = HeadRecipe(learning_rate=0.01, weight_decay=5e-3)  # the best found for it; its logits have no bound
