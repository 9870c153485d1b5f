"""The losses: cross-entropy and its replacements for long-tailed data.

    cross_entropy     −log p_y
    focal             −(1 − p_y)^g log p_y                                   Lin et al. 2017, arXiv:1708.02002
    class_balanced    cross-entropy, each image weighted by (1 − β)/(1 − β^n_y)    Cui et al. 2019, arXiv:1901.05555
    ldam              cross-entropy, a margin m n_y^(−1/4) subtracted from the cosine of the true class
                                                                             Cao et al. 2019, arXiv:1906.07413
    balanced_softmax  cross-entropy of z + log n                             Ren et al. 2020, arXiv:2007.10740
    logit_adjusted    cross-entropy of z + t log(n / N)                      Menon et al. 2021, arXiv:2007.07314

n is the number of training images per class. At t = 1 the last two are the same function, because a constant added to
all logits does not change the softmax; both names are in use. A weighted loss is divided by the sum of the weights over
the batch, as in torch's weighted cross-entropy and in the code of LDAM-DRW; Cui et al. divide by the number of images.
Deferred re-weighting (DRW, used with LDAM) gives any loss the weights of `class_balanced` from some epoch on.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from training.recipe.recipe import Recipe

__all__ = ["Loss", "class_weights"]


def class_weights(class_counts: Tensor, beta: float) -> Tensor:
    """Return (C,) weights (1 − β)/(1 − β^n), scaled to a mean of 1; a class without images has weight 0."""
    effective = (1.0 - beta ** class_counts.double()) / (1.0 - beta)
    weights = torch.where(class_counts > 0, 1.0 / effective.clamp_min(1e-12), 0.0)
    return (weights / weights.sum() * len(weights)).float()


class Loss:
    """The recipe's loss for one training set.

    Args:
        recipe: `loss` with its parameters, `reweight_from` and `tau`.
        class_counts: (C,) training images of each class.
        device: the device of the logits.
        mean_of_shares: if several processes share a batch, averages a tensor over them. The weights are divided by
            their sum over the whole batch, so that the mean of the processes' losses is the loss of the whole batch.

    """

    def __init__(
        self,
        recipe: Recipe,
        class_counts: Tensor,
        device: torch.device,
        mean_of_shares: Callable[[Tensor], Tensor] = lambda share: share,
    ) -> None:
        self.recipe = recipe
        self.mean_of_shares = mean_of_shares
        counts = class_counts.to(device, torch.float64)
        self.weights = class_weights(counts, recipe.reweight_beta)
        prior = (counts / counts.sum()).clamp_min(1e-12).log().float()
        self.shift = recipe.logit_adjustment * prior if recipe.loss == "logit_adjusted" else prior
        margins = counts.clamp_min(1.0).pow(-0.25)
        self.margins = (recipe.tau * recipe.ldam_margin * margins / margins.max()).float()
        self._loss_of: Callable[[Tensor, Tensor], Tensor] = {
            "cross_entropy": self._cross_entropy,
            "class_balanced": self._cross_entropy,
            "focal": self._focal,
            "ldam": self._ldam,
            "balanced_softmax": self._adjusted,
            "logit_adjusted": self._adjusted,
        }[recipe.loss]

    def __call__(self, logits: Tensor, labels: Tensor, epoch: float) -> Tensor:
        """Return the mean loss of a batch in nats, weighted by class if the recipe says so.

        Args:
            logits: (B, C) float32.
            labels: (B,) class indices.
            epoch: epochs done, fractions included.

        """
        losses = self._loss_of(logits, labels)
        if not self.reweights(epoch):
            return losses.mean()
        weights = self.weights[labels]
        return (weights * losses).sum() / self.mean_of_shares(weights.sum()).clamp_min(1e-12)

    def reweights(self, epoch: float) -> bool:
        """Return whether classes are weighted at this moment of training."""
        start = self.recipe.reweight_from
        return self.recipe.loss == "class_balanced" or (start is not None and epoch >= start)

    @staticmethod
    def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="none")

    def _focal(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = F.cross_entropy(logits, labels, reduction="none")
        wrong = (-torch.expm1(-losses)).clamp_min(1e-12)  # 1 − p; a power below 1 has no gradient at 0
        return wrong**self.recipe.focal_gamma * losses

    def _ldam(self, logits: Tensor, labels: Tensor) -> Tensor:
        margin = F.one_hot(labels, logits.shape[1]) * self.margins[labels, None]
        return F.cross_entropy(logits - margin, labels, reduction="none")

    def _adjusted(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits + self.shift, labels, reduction="none")
