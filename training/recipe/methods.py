"""Published methods by name. Each changes only its own fields of a recipe, so that methods can be compared fairly.

`python -m training train RECIPE --method NAME`. Without a method, a recipe has the de-confounded head and
cross-entropy.
"""

from dataclasses import replace
from typing import Any

from training.errors import RecipeError
from training.recipe.recipe import Recipe

__all__ = ["METHODS", "with_method"]

_SECOND_STAGE = {"head": "linear", "second_stage_epochs": 0.1}

METHODS: dict[str, dict[str, Any]] = {
    "deconfounded": {},
    "cosine": {"head": "cosine"},
    "capsule": {"head": "capsule"},
    "cross-entropy": {"head": "linear"},
    "focal": {"head": "linear", "loss": "focal"},
    "class-balanced": {"head": "linear", "loss": "class_balanced"},
    "ldam": {"head": "cosine", "tau": 30.0, "loss": "ldam"},
    "ldam-drw": {"head": "cosine", "tau": 30.0, "loss": "ldam", "reweight_from": 0.8},
    "balanced-softmax": {"head": "linear", "loss": "balanced_softmax"},
    "logit-adjusted": {"head": "linear", "loss": "logit_adjusted"},
    "crt": _SECOND_STAGE | {"second_stage": "crt"},
    "lws": _SECOND_STAGE | {"second_stage": "lws"},
    "mixup": {"mixup": 0.2},
    "rand-augment": {"auto_augment": False, "rand_augment": (2, 10)},
    "ema": {"ema_decay": 0.999},
}
_SHARES_OF_EPOCHS = ("reweight_from", "second_stage_epochs")


def with_method(recipe: Recipe, name: str) -> Recipe:
    """Return the recipe with a method's changes; shares of the training become epochs.

    Raises:
        RecipeError: the method is unknown, or does not fit the recipe.

    """
    if name not in METHODS:
        raise RecipeError(f"unknown method {name!r}; methods: {', '.join(METHODS)}")
    changes = {
        field: max(1, round(value * recipe.epochs)) if field in _SHARES_OF_EPOCHS else value
        for field, value in METHODS[name].items()
    }
    return replace(recipe, method=name, **changes)
