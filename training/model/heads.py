"""The classifier on top of the features: linear, cosine, capsule or de-confounded.

The last three differ only in how they normalise features and weights, so they are one class. It splits a feature into K
contiguous parts, the heads, and computes

    logits_i = (τ/K) Σ_k ŵ_{i,k}·x̂_k        ŵ = w / (‖w‖ + γ)        x̂ = x / ‖x‖, for the capsule x / (1 + ‖x‖)

    cosine: K = 1, γ = 0      capsule: K = 1, γ = 0, squashed      de-confounded: K = 2, τ = 16, γ = 1/32

TDE needs the projection of x̂ on the direction of the mean feature, x̂_k·d̂_k (`projection`). The rest of its arithmetic
is in `models/tde.py`, which must agree with this file to 1e-5.

Source: Tang, Huang & Zhang, NeurIPS 2020, arXiv:2009.12991; capsule: Liu et al., CVPR 2019, arXiv:1904.05160.
"""

import math

import torch
from torch import Tensor, nn

from training.errors import RecipeError
from training.recipe.choices import HEADS

__all__ = ["Head", "LinearHead", "NormalisedHead", "build_head"]

EPSILON = 1e-12  # features that are all zero have no direction; they then add 0 to the logits instead of NaN


class LinearHead(nn.Linear):
    """The plain classifier, with bias. It does not normalise features, so TDE is not defined for it.

    Each class's logit has a factor, which is 1 unless a second stage learns it (LWS, arXiv:1910.09217).
    """

    def __init__(self, feature_dim: int, num_classes: int) -> None:
        super().__init__(feature_dim, num_classes)
        self.class_scale = nn.Parameter(torch.ones(num_classes), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """Compute (B, C) logits of (B, D) features."""
        return super().forward(features) * self.class_scale


class NormalisedHead(nn.Module):
    """A cosine-like classifier; see the module's equation.

    Args:
        feature_dim: D.
        num_classes: C.
        num_heads: K, which must divide D.
        tau: τ, the scale of the logits.
        gamma: γ, which keeps small weights small; 0 is the plain cosine.
        squash: use the capsule's x / (1 + ‖x‖) instead of x / ‖x‖.

    """

    def __init__(
        self,
        feature_dim: int,
        num_classes: int,
        *,
        num_heads: int = 2,
        tau: float = 16.0,
        gamma: float = 1 / 32,
        squash: bool = False,
    ) -> None:
        super().__init__()
        if num_heads < 1 or feature_dim % num_heads:
            raise RecipeError(f"{feature_dim} features cannot be split into {num_heads} equal heads")
        self.num_heads = num_heads
        self.tau = tau
        self.gamma = gamma
        self.squash = squash
        self.weight = nn.Parameter(torch.empty(num_classes, feature_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights, uniform within ±1/√D, as `nn.Linear` does."""
        bound = 1.0 / math.sqrt(self.weight.shape[1])
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, features: Tensor) -> Tensor:
        """Compute (B, C) logits of (B, D) features."""
        weight = self._split(self.weight)
        norm: Tensor = weight.norm(dim=2, keepdim=True)
        weight = weight / (norm + self.gamma).clamp_min(EPSILON)
        return self.tau / self.num_heads * self.normalise(features).flatten(1) @ weight.flatten(1).T

    def normalise(self, features: Tensor) -> Tensor:
        """Compute x̂, (B, K, D/K), of (B, D) features."""
        heads = self._split(features)
        norm: Tensor = heads.norm(dim=2, keepdim=True)
        return heads / (1.0 + norm if self.squash else norm.clamp_min(EPSILON))

    def projection(self, features: Tensor, mean_feature: Tensor) -> Tensor:
        """Compute x̂_k·d̂_k, (B, K), of (B, D) features and a (D,) mean feature: their cosine with the head direction."""
        direction = nn.functional.normalize(self._split(mean_feature[None]), dim=2, eps=EPSILON)
        return (self.normalise(features) * direction).sum(dim=2)

    def _split(self, vectors: Tensor) -> Tensor:
        heads: Tensor = vectors.unflatten(1, (self.num_heads, -1))
        return heads


Head = LinearHead | NormalisedHead


def build_head(kind: str, feature_dim: int, num_classes: int, *, num_heads: int, tau: float, gamma: float) -> Head:
    """Build a head by its name.

    Args:
        kind: `linear`, `cosine`, `capsule` or `deconfounded`.
        feature_dim: D.
        num_classes: C.
        num_heads: K of the de-confounded head; cosine and capsule have K = 1 by definition.
        tau: τ of a normalising head.
        gamma: γ of the de-confounded head; cosine and capsule have γ = 0 by definition.

    Raises:
        RecipeError: the name is unknown, or K does not divide D.

    """
    if kind == "linear":
        return LinearHead(feature_dim, num_classes)
    if kind in {"cosine", "capsule"}:
        return NormalisedHead(feature_dim, num_classes, num_heads=1, tau=tau, gamma=0.0, squash=kind == "capsule")
    if kind == "deconfounded":
        return NormalisedHead(feature_dim, num_classes, num_heads=num_heads, tau=tau, gamma=gamma)
    raise RecipeError(f"unknown head {kind!r}; heads: {', '.join(HEADS)}")
