"""What makes sense in a recipe: the names that there are, the bounds of its numbers, and what goes together."""

import math
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TYPE_CHECKING

from training.errors import RecipeError

if TYPE_CHECKING:
    from training.recipe.recipe import Recipe

__all__ = ["HEADS", "LOSSES", "MAX_EPOCHS", "check_recipe", "check_used"]

HEADS = ("linear", "cosine", "capsule", "deconfounded")
LOSSES = ("cross_entropy", "focal", "class_balanced", "ldam", "balanced_softmax", "logit_adjusted")
MAX_EPOCHS = 1_000_000
_CHOICES = {
    "head": HEADS,
    "loss": LOSSES,
    "second_stage": ("none", "crt", "lws"),
    "schedule": ("milestones", "cosine"),
    "mean_feature": ("clean", "running"),
    "auto_augment_policy": ("cifar10", "imagenet"),
}
_TINY = 1e-9
_NO_END = math.inf
_BOUNDS: dict[str, tuple[float, float]] = {  # the least value, and the first that is too large
    "num_heads": (1, 1025),
    "tau": (_TINY, 1e6),
    "gamma": (0, 1e6),
    "focal_gamma": (0, 100),
    "ldam_margin": (0, 100),
    "logit_adjustment": (-100, 100),
    "reweight_from": (0, _NO_END),
    "reweight_beta": (0, 1),
    "second_stage_epochs": (0, _NO_END),
    "second_stage_learning_rate": (_TINY, 1e6),
    "height": (1, 4097),
    "width": (1, 4097),
    "resize": (1, 8193),
    "mean": (-10, 10),
    "std": (_TINY, 10),
    "imbalance_ratio": (-_NO_END, _NO_END),
    "epochs": (1, MAX_EPOCHS),
    "batch_size": (2, 1e6),
    "learning_rate": (_TINY, 1e38),
    "momentum": (0, 1),
    "weight_decay": (0, 1e6),
    "warmup_epochs": (0, _NO_END),
    "milestones": (0, _NO_END),
    "milestone_factor": (0, 1e6),
    "crop_padding": (0, 4097),
    "color_jitter": (0, 1 + _TINY),
    "cutout": (0, 4097),
    "mixup": (0, 1e6),
    "ema_decay": (0, 1),
    "evaluate_every": (0, _NO_END),
    "authors_alpha": (-100, 100),
}
_USED: dict[str, Callable[["Recipe"], bool]] = {  # fields that only some recipes look at
    "num_heads": lambda recipe: recipe.head == "deconfounded",
    "gamma": lambda recipe: recipe.head == "deconfounded",
    "tau": lambda recipe: recipe.head != "linear",
    "focal_gamma": lambda recipe: recipe.loss == "focal",
    "ldam_margin": lambda recipe: recipe.loss == "ldam",
    "logit_adjustment": lambda recipe: recipe.loss == "logit_adjusted",
    "reweight_beta": lambda recipe: recipe.loss == "class_balanced" or recipe.reweight_from is not None,
    "second_stage_epochs": lambda recipe: recipe.second_stage != "none",
    "second_stage_learning_rate": lambda recipe: recipe.second_stage != "none",
    "milestones": lambda recipe: recipe.schedule == "milestones",
    "milestone_factor": lambda recipe: recipe.schedule == "milestones",
    "restarts": lambda recipe: recipe.schedule == "cosine" or not recipe.restarts,
    "auto_augment_policy": lambda recipe: recipe.auto_augment,
    "authors_alpha": lambda recipe: recipe.head != "linear",
    "mean_feature": lambda recipe: recipe.head != "linear",
    "reweight_from": lambda recipe: recipe.loss != "class_balanced",
}


def check_recipe(recipe: "Recipe") -> None:
    """Refuse a recipe that contradicts itself.

    Raises:
        RecipeError: which field, and what it may be.

    """
    for field, known in _CHOICES.items():
        if getattr(recipe, field) not in known:
            raise RecipeError(
                f"recipe {recipe.name}: {field} {getattr(recipe, field)!r} is unknown; there are: {', '.join(known)}"
            )
    for field, (least, end) in _BOUNDS.items():
        _check_numbers(recipe, field, getattr(recipe, field), least, end)
    for start, pixels in recipe.progressive_sizes:
        _check_numbers(recipe, "progressive_sizes", (start, pixels), 0, 4097)
        _check_numbers(recipe, "progressive_sizes", pixels, 4, 4097)
    _check_restarts(recipe)
    if recipe.rand_augment is not None:
        _check_numbers(recipe, "rand_augment", recipe.rand_augment[0], 1, 15)
        _check_numbers(recipe, "rand_augment", recipe.rand_augment[1], 0, 31)
    if recipe.nesterov and not recipe.momentum:
        raise RecipeError(f"recipe {recipe.name}: nesterov needs a momentum above 0")
    _check_that_parts_agree(recipe)


def check_used(recipe: "Recipe", fields: Iterable[str]) -> None:
    """Refuse fields that somebody set and the recipe does not look at, or not as it says.

    Raises:
        RecipeError: which.

    """
    changed = set(fields)
    for field in sorted(changed & _USED.keys()):
        if not _USED[field](recipe):
            raise RecipeError(
                f"--set {field}: it has no effect with head {recipe.head}, loss {recipe.loss}, schedule "
                f"{recipe.schedule}, second stage {recipe.second_stage}, auto_augment {recipe.auto_augment}"
            )
    if changed & {"auto_augment", "rand_augment"} and recipe.auto_augment and recipe.rand_augment is not None:
        raise RecipeError(
            f"recipe {recipe.name}: auto_augment and rand_augment would both change every picture; set one of "
            "auto_augment=False, rand_augment=None"
        )
    if "schedule" in changed and recipe.schedule == "milestones":
        if recipe.restarts:
            raise RecipeError("--set schedule=milestones: the recipe's restarts need a cosine; set restarts=() too")
        changed.add("milestones")
    if changed & {"second_stage", "second_stage_epochs"}:
        changed.add("restarts")
    _check_that_epochs_come(recipe, changed)


def _check_that_epochs_come(recipe: "Recipe", fields: set[str]) -> None:
    """Refuse what was to happen in an epoch after the last one."""
    begins: dict[str, tuple[float, ...]] = {
        "milestones": recipe.milestones,
        "progressive_sizes": tuple(start for start, _ in recipe.progressive_sizes),
        "reweight_from": () if recipe.reweight_from is None else (recipe.reweight_from,),
    }
    for field, starts in begins.items():
        if field in fields and (late := [start for start in starts if start >= recipe.epochs]):
            raise RecipeError(
                f"recipe {recipe.name}: {field} {late[0]:g} never comes; there are {recipe.epochs} epochs"
            )
    first = recipe.first_stage_epochs
    if "restarts" in fields and any(start >= first for start, _ in recipe.restarts):
        raise RecipeError(
            f"recipe {recipe.name}: restarts {recipe.restarts!r} must come before the second stage, at {first}"
        )


def _check_numbers(
    recipe: "Recipe", field: str, value: float | tuple[float, ...] | None, least: float, end: float
) -> None:
    """Refuse what is not a number, or none from `least` to below `end`; None is for the fields that have it."""
    for number in value if isinstance(value, tuple) else (value,):
        if number is not None and not (math.isfinite(number) and least <= number < end):
            raise RecipeError(
                f"recipe {recipe.name}: {field} {value!r} makes no sense; it is at least {least:g} and below {end:g}"
            )


def _check_restarts(recipe: "Recipe") -> None:
    starts = [recipe.warmup_epochs, *(start for start, _ in recipe.restarts), recipe.epochs]
    if recipe.restarts and not all(one < other for one, other in pairwise(starts)):
        raise RecipeError(
            f"recipe {recipe.name}: restarts {recipe.restarts!r} must come one after the other, between warm-up and end"
        )
    for _, rate in recipe.restarts:
        _check_numbers(recipe, "restarts", rate, _TINY, 1e6)


def _check_that_parts_agree(recipe: "Recipe") -> None:
    if recipe.resize < max(recipe.height, recipe.width):
        raise RecipeError(
            f"recipe {recipe.name}: resize {recipe.resize} is smaller than the crop {recipe.height}x{recipe.width}"
        )
    if recipe.random_resized_crop and recipe.crop_padding:
        raise RecipeError(
            f"recipe {recipe.name}: random_resized_crop and crop_padding {recipe.crop_padding} both crop; "
            "set crop_padding=0"
        )
    if recipe.loss == "ldam" and recipe.head not in ("cosine", "deconfounded"):
        raise RecipeError(f"recipe {recipe.name}: LDAM's margin is one of cosines; take head cosine or deconfounded")
    if recipe.second_stage == "lws" and recipe.head != "linear":
        raise RecipeError(
            f"recipe {recipe.name}: lws scales each class's weights, which head {recipe.head} normalises away; "
            "take head linear"
        )
    if recipe.second_stage != "none" and not 0 < recipe.second_stage_epochs < recipe.epochs:
        raise RecipeError(
            f"recipe {recipe.name}: second_stage_epochs {recipe.second_stage_epochs} leaves one of the two stages "
            f"without epochs; there are {recipe.epochs}"
        )
