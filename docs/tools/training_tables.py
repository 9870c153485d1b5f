"""Reference tables of training: recipes, their fields, methods."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter

from docs.tools.markdown import code, table
from training.recipe.methods import METHODS
from training.recipe.named_recipes import load_recipe, recipe_names
from training.recipe.recipe import Recipe

__all__ = ["methods_table", "recipe_fields_table", "recipes_table"]

TYPES = {"integer": "integer", "number": "number", "string": "text", "boolean": "`True` or `False`"}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


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
    """Return the table of a recipe's fields: type, default, meaning."""
    described = TypeAdapter(Recipe).json_schema()["properties"]
    rows = [
        [code(name), _type(described[name]), _default(described[name]), described[name].get("description", "")]
        for name in (field.name for field in fields(Recipe))
    ]
    return table(["field", "type", "default", "meaning"], rows)


def methods_table() -> str:
    """Return the table of methods: the recipe fields that each changes."""
    rows = [
        [code(name), ", ".join(code(f"{field} = {value!r}") for field, value in changes.items()) or "nothing"]
        for name, changes in METHODS.items()
    ]
    return table(["method", "what it changes in the recipe"], rows)


def _type(schema: Mapping[str, Any]) -> str:
    """A JSON schema's type and bounds, in words."""
    if "anyOf" in schema:
        return " or ".join(map(_type, schema["anyOf"]))
    if "enum" in schema:
        return ", ".join(map(code, schema["enum"]))
    if "prefixItems" in schema:
        items = list(map(_type, schema["prefixItems"]))
        return f"{len(items)} × {items[0]}" if len({*items}) == 1 else f"({', '.join(items)})"
    if schema["type"] == "array":
        return f"any number of {_type(schema['items'])}"
    if schema["type"] == "null":
        return "none"
    bounds = [f"{sign} {schema[key]:g}" for key, sign in BOUNDS.items() if key in schema]
    return " ".join([TYPES[schema["type"]], " and ".join(bounds)]).strip()


def _default(schema: Mapping[str, Any]) -> str:
    """The default in Python's spelling, as `--set` takes it."""
    if "default" not in schema:
        return "required"
    default = schema["default"]
    return code(tuple(default) if isinstance(default, list) else default)
