"""Start a run from pretrained weights: find them, and give the network the image size and normalisation it expects."""

from dataclasses import asdict, replace

from models.manifest import ImageRecipe
from training.errors import RecipeError
from training.model.networks.backbones import installed_weights
from training.model.networks.published_input import published_input
from training.recipe.recipe import Recipe
from training.run.options import TrainOptions

__all__ = ["start_from", "with_input"]


def start_from(recipe: Recipe, options: TrainOptions) -> tuple[Recipe, TrainOptions]:
    """Return the recipe with the input its network was published with, and options with the weights to start from.

    A recipe that starts from random weights is returned unchanged.

    Raises:
        RecipeError: the recipe needs pretrained weights, and none were found.

    """
    weights = options.weights or (installed_weights(recipe.network) if recipe.pretrained else None)
    if weights is None and (recipe.frozen or recipe.pretrained):
        need = f"freezes {', '.join(recipe.frozen)}" if recipe.frozen else "starts from pretrained weights"
        or_random = "" if recipe.frozen else ", or start from random weights with --set pretrained=False"
        raise RecipeError(
            f"recipe {recipe.name} {need}, and no weights of {recipe.network} were found; give them with --weights "
            f"FILE{or_random}"
        )
    if recipe.pretrained:
        recipe = with_input(recipe, published_input(recipe.network, weights), options.set_fields)
    return recipe, replace(options, weights=weights)


def with_input(recipe: Recipe, published: ImageRecipe, set_fields: frozenset[str]) -> Recipe:
    """Return a pretrained recipe with image size and normalisation as published, except for fields the user set."""
    if not recipe.pretrained:
        return recipe
    return replace(recipe, **{field: value for field, value in asdict(published).items() if field not in set_fields})
