"""A recipe's fields are checked wherever it is made, and every field says what it means."""

import json
from dataclasses import fields, replace

import pytest
from pydantic.dataclasses import is_pydantic_dataclass

from training.errors import RecipeError
from training.recipe.named_recipes import load_recipe, recipe_names
from training.recipe.recipe import Recipe


def test_every_field_has_a_description() -> None:
    assert is_pydantic_dataclass(Recipe)
    described = {name: field.description for name, field in Recipe.__pydantic_fields__.items()}
    assert described.keys() == {field.name for field in fields(Recipe)}
    assert all(text and text.endswith(".") for text in described.values())


def test_a_wrong_value_is_a_recipe_error_however_the_recipe_is_made() -> None:
    sentence = "recipe cifar10-lt: batch_size is 1; it must be at least 2 and at most 999,999"
    recipe = load_recipe("cifar10-lt")
    with pytest.raises(RecipeError, match=sentence):
        replace(recipe, batch_size=1)
    with pytest.raises(RecipeError, match=sentence):
        Recipe(name="cifar10-lt", batch_size=1)
    with pytest.raises(RecipeError, match=sentence):
        Recipe.from_dict(recipe.to_dict() | {"batch_size": 1})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(RecipeError, match="a recipe has no field 'hologram'"):
        replace(load_recipe("cifar10-lt"), hologram=1)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_survives_json(name: str) -> None:
    recipe = load_recipe(name)
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
