"""`--set FIELD=VALUE`: change single fields of a recipe, and refuse a change that would have no effect."""

import ast
from collections.abc import Callable, Collection, Iterable
from dataclasses import fields, replace
from difflib import get_close_matches
from typing import Any

from training.errors import RecipeError
from training.recipe.recipe import Recipe

__all__ = ["with_settings"]

_FIXED = {"name", "method"}
_IS_USED: dict[str, Callable[[Recipe], bool]] = {  # fields that only some recipes read
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


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """Return the recipe with some fields changed.

    Args:
        recipe: what to change.
        settings: each as `FIELD=VALUE`, the value as a Python literal; anything else is text.

    Raises:
        RecipeError: a field is unknown, a value is of the wrong kind or out of bounds, or a field has no effect in this
            recipe.

    """
    changes: dict[str, Any] = {}
    for setting in settings:
        field, equals, text = setting.partition("=")
        if not equals:
            raise RecipeError(f"--set {setting}: must be FIELD=VALUE, such as learning_rate=0.1")
        _check_field(setting, field)
        changes[field] = _literal(text)
    changed = replace(recipe, **changes)
    _check_used(changed, changes)
    _check_augmentations(changed, changes)
    _check_schedule(changed, changes)
    _check_epochs_come(changed, changes)
    return changed


def _check_field(setting: str, field: str) -> None:
    known = [known.name for known in fields(Recipe) if known.name not in _FIXED]
    if field not in known:
        similar = get_close_matches(field, known, cutoff=0.5)
        hint = f"did you mean {' or '.join(similar)}?" if similar else f"fields: {', '.join(known)}"
        raise RecipeError(f"--set {setting}: a recipe has no field {field!r}; {hint}")
    if field == "epochs":
        raise RecipeError(f"--set {setting}: use --epochs, which also moves everything that happens at an epoch")


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _check_used(recipe: Recipe, changed: Collection[str]) -> None:
    """Refuse changed fields that this recipe does not read."""
    for field in sorted(_IS_USED.keys() & set(changed)):
        if not _IS_USED[field](recipe):
            raise RecipeError(
                f"--set {field}: it has no effect with head {recipe.head}, loss {recipe.loss}, schedule "
                f"{recipe.schedule}, second stage {recipe.second_stage}, auto_augment {recipe.auto_augment}"
            )


def _check_augmentations(recipe: Recipe, changed: Collection[str]) -> None:
    changes_either = {"auto_augment", "rand_augment"} & set(changed)
    if changes_either and recipe.auto_augment and recipe.rand_augment is not None:
        raise RecipeError(
            f"recipe {recipe.name}: auto_augment and rand_augment would both change every image; set one of "
            "auto_augment=False, rand_augment=None"
        )


def _check_schedule(recipe: Recipe, changed: Collection[str]) -> None:
    if "schedule" in changed and recipe.schedule == "milestones" and recipe.restarts:
        raise RecipeError("--set schedule=milestones: the recipe's restarts need a cosine; set restarts=() too")


def _check_epochs_come(recipe: Recipe, changed: Collection[str]) -> None:
    """Refuse a change that lets something happen only after the last epoch, or a restart in the second stage."""
    starts: dict[str, tuple[float, ...]] = {
        "milestones": recipe.milestones,
        "progressive_sizes": tuple(start for start, _ in recipe.progressive_sizes),
        "reweight_from": () if recipe.reweight_from is None else (recipe.reweight_from,),
    }
    affected = set(changed)
    if "schedule" in changed and recipe.schedule == "milestones":
        affected.add("milestones")
    for field, epochs in starts.items():
        if field in affected and (late := [start for start in epochs if start >= recipe.epochs]):
            raise RecipeError(
                f"recipe {recipe.name}: {field} {late[0]:g} is never reached; there are {recipe.epochs} epochs"
            )
    end = recipe.first_stage_epochs
    changes_restarts = {"restarts", "second_stage", "second_stage_epochs"} & affected
    if changes_restarts and any(start >= end for start, _ in recipe.restarts):
        raise RecipeError(
            f"recipe {recipe.name}: restarts {recipe.restarts!r} must come before the second stage, at epoch {end}"
        )
