"""Find recipes by name: `training/recipe/recipes/` has one file per result, with a module-level `RECIPE`.

A recipe's name is the name of its file, with dashes for underscores.
"""

import importlib
import pkgutil

from training.errors import RecipeError
from training.recipe import recipes
from training.recipe.recipe import Recipe

__all__ = ["load_recipe", "recipe_names"]


def recipe_names() -> list[str]:
    """Return the names of all recipes, sorted."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(recipes.__path__))


def load_recipe(name: str) -> Recipe:
    """Return a recipe by its name.

    Raises:
        RecipeError: the name is unknown; the message lists those that exist.

    """
    if name not in recipe_names():
        raise RecipeError(f"unknown recipe {name!r}; recipes: {', '.join(recipe_names())}")
    recipe: Recipe = importlib.import_module(f"training.recipe.recipes.{name.replace('-', '_')}").RECIPE
    return recipe
