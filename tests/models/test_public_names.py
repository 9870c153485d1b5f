"""`__all__` says exactly what each module offers."""

import ast
import importlib
from pathlib import Path

import pytest

import models

MODULES = sorted(path.stem for path in Path(models.__path__[0]).glob("*.py") if path.stem != "__init__")


@pytest.mark.parametrize("name", MODULES)
def test_all_lists_what_is_there(name: str) -> None:
    module = importlib.import_module(f"models.{name}")
    assert list(module.__all__) == sorted(module.__all__, key=lambda public: (not public.isupper(), public))
    assert all(hasattr(module, public) for public in module.__all__)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_function_and_class_is_listed(name: str) -> None:
    module = importlib.import_module(f"models.{name}")
    tree = ast.parse(Path(str(module.__file__)).read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert {public for public in defined if not public.startswith("_")} <= set(module.__all__)
