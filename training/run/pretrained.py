"""A run that starts from pretrained weights: which, and what pictures its network is shown."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from models.manifest import ImageRecipe
from training.errors import RecipeError
from training.model.networks import installed_weights
from training.model.networks.published_input import published_input
from training.recipe.recipe import Recipe

if TYPE_CHECKING:
    from training.run.state import TrainOptions

__all__ = ["start_from", "with_input"]


def start_from(recipe: Recipe, options: "TrainOptions") -> tuple[Recipe, "TrainOptions"]:
    """Return the recipe of a new run with the input its network was published with, and the weights it starts from.

    Nothing changes for recipes that start from random weights.

    Raises:
        RecipeError: it needs pretrained weights, and there are none.

    """
    weights = options.weights or (installed_weights(recipe.network) if recipe.pretrained else None)
    if weights is None and (recipe.frozen or recipe.pretrained):
        why = f"keeps {', '.join(recipe.frozen)} as they come" if recipe.frozen else "starts from pretrained weights"
        or_random = "" if recipe.frozen else ", or start from random ones with --set pretrained=False"
        raise RecipeError(
            f"recipe {recipe.name} {why}, and there are none of {recipe.network} here; give them with --weights "
            f"FILE{or_random}"
        )
    if recipe.pretrained:
        recipe = with_input(recipe, published_input(recipe.network, weights), options)
    return recipe, replace(options, weights=weights)


def with_input(recipe: Recipe, shown: ImageRecipe, options: "TrainOptions") -> Recipe:
    """Return a pretrained recipe whose pictures are as in `shown`, but for what was set by hand; others as they are."""
    if not recipe.pretrained:
        return recipe
    return replace(
        recipe, **{field: value for field, value in asdict(shown).items() if field not in options.set_fields}
    )
