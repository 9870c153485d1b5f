"""The learning rate over time and the picture size over time: pure functions of the recipe and the epoch."""

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.recipe.recipe import Recipe

__all__ = ["image_size_at", "learning_rate_at"]


def learning_rate_at(recipe: "Recipe", epoch: float) -> float:
    """Return the learning rate at a moment of training.

    Args:
        recipe: its `schedule`, `warmup_epochs`, `milestones`, `epochs` and second stage, which has a cosine of its own.
        epoch: epochs done, fractions included; a step asks for its own middle, so neither the first nor the last is 0.

    """
    if epoch < recipe.warmup_epochs:
        return recipe.learning_rate * epoch / recipe.warmup_epochs
    first = recipe.first_stage_epochs
    if epoch >= first:
        return _cosine(recipe.second_stage_learning_rate, (epoch - first) / (recipe.epochs - first))
    if recipe.schedule == "cosine":
        starts = [(recipe.warmup_epochs, recipe.learning_rate), *recipe.restarts]
        number = max(index for index, (start, _) in enumerate(starts) if epoch >= start)
        (start, peak) = starts[number]
        end = [start for start, _ in (*starts[1:], (first, 0.0))][number]
        return _cosine(peak, (epoch - start) / (end - start))
    passed = sum(epoch >= milestone for milestone in recipe.milestones)
    return recipe.learning_rate * recipe.milestone_factor**passed


def _cosine(peak: float, done: float) -> float:
    return peak * 0.5 * (1.0 + math.cos(math.pi * done))


def image_size_at(recipe: "Recipe", epoch: int) -> int | None:
    """Return the side in pixels to train this epoch on, or None for the full picture."""
    size = None
    for start, pixels in recipe.progressive_sizes:
        if epoch >= start:
            size = pixels
    return None if size == recipe.height == recipe.width else size
