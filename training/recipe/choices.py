"""The names that a recipe chooses from. Each literal type comes with a tuple of the same names."""

from typing import Literal, get_args

__all__ = ["HEADS", "LOSSES", "AutoAugmentPolicy", "Head", "Loss", "MeanFeature", "Schedule", "SecondStage"]

Head = Literal["linear", "cosine", "capsule", "deconfounded"]
Loss = Literal["cross_entropy", "focal", "class_balanced", "ldam", "balanced_softmax", "logit_adjusted"]
SecondStage = Literal["none", "crt", "lws"]
Schedule = Literal["milestones", "cosine"]
MeanFeature = Literal["clean", "running"]
AutoAugmentPolicy = Literal["cifar10", "imagenet"]

HEADS: tuple[str, ...] = get_args(Head)
LOSSES: tuple[str, ...] = get_args(Loss)
