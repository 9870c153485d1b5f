"""The learning rate and the image size over time: pure functions of the recipe and the epoch."""

import math

from training.recipe.recipe import Recipe

__all__ = ["image_size_at", "learning_rate_at"]


def learning_rate_at(recipe: Recipe, epoch: float) -> float:
    """Return the learning rate at a moment of training.

    Args:
        recipe: the schedule. A second stage has its own cosine.
        epoch: epochs done, fractions included. A step passes its middle, so its rate is never 0.

    """
    if epoch < recipe.warmup_epochs:
        return recipe.learning_rate * epoch / recipe.warmup_epochs
    first = recipe.first_stage_epochs
    if epoch >= first:
        return _cosine(recipe.second_stage_learning_rate, (epoch - first) / (recipe.epochs - first))
    if recipe.schedule == "cosine":
        starts = [(recipe.warmup_epochs, recipe.learning_rate), *recipe.restarts]
        number = max(index for index, (start, _) in enumerate(starts) if epoch >= start)
        start, peak = starts[number]
        end = [start for start, _ in (*starts[1:], (first, 0.0))][number]
        return _cosine(peak, (epoch - start) / (end - start))
    passed = sum(epoch >= milestone for milestone in recipe.milestones)
    return recipe.learning_rate * recipe.milestone_factor**passed


def _cosine(peak: float, done: float) -> float:
    return peak * 0.5 * (1.0 + math.cos(math.pi * done))


def image_size_at(recipe: Recipe, epoch: int) -> int | None:
    """Return the side in pixels of this epoch's images, or None for full size."""
    size = None
    for start, side in recipe.progressive_sizes:
        if epoch >= start:
            size = side
    return None if size == recipe.height == recipe.width else size
