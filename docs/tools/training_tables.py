"""Reference tables of training: recipes, their fields, methods."""

from dataclasses import fields
from typing import Any, get_args, get_origin

from docs.tools.markdown import code, table
from training.recipe.methods import METHODS
from training.recipe.recipe import Recipe, load_recipe, recipe_names

__all__ = ["methods_table", "recipe_fields_table", "recipes_table"]


def recipes_table() -> str:
    """Return the table of recipes: name, network, epochs, batch size, learning rate, what it is for."""
    recipes = map(load_recipe, recipe_names())
    rows = [
        [
            code(each.name),
            code(each.network),
            str(each.epochs),
            str(each.batch_size),
            f"{each.learning_rate:g}",
            each.schedule,
            "none" if each.imbalance_ratio is None else f"{each.imbalance_ratio:g}",
        ]
        for each in recipes
    ]
    header = ["recipe", "network", "epochs", "batch size", "learning rate", "schedule", "imbalance ratio"]
    return table(header, rows)


def recipe_fields_table() -> str:
    """Return the table of a recipe's fields: type, default, bounds, meaning."""
    described = Recipe.__pydantic_fields__
    rows = []
    for field in fields(Recipe):
        info = described[field.name]
        rows.append([code(field.name), _type(info.annotation), _default(info), _bounds(info), info.description or ""])
    return table(["field", "type", "default", "bounds", "meaning"], rows)


def methods_table() -> str:
    """Return the table of methods: the recipe fields that each changes."""
    rows = [
        [code(name), ", ".join(code(f"{field} = {value!r}") for field, value in changes.items()) or "nothing"]
        for name, changes in METHODS.items()
    ]
    return table(["method", "what it changes in the recipe"], rows)


def _type(annotation: Any) -> str:
    if get_origin(annotation) is not None and get_origin(annotation).__name__ == "Literal":
        return ", ".join(map(code, get_args(annotation)))
    return code(annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else annotation)


def _default(info: Any) -> str:
    return "required" if info.is_required() else code(repr(info.default))


def _bounds(info: Any) -> str:
    signs = {"Ge": "≥", "Gt": ">", "Le": "≤", "Lt": "<"}
    known = [(type(each).__name__, each) for each in info.metadata]
    return ", ".join(f"{signs[name]} {getattr(each, name.lower()):g}" for name, each in known if name in signs)
