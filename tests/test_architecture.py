"""The arrows between the packages, and what starting the service may not load."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UNPICKLING = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "shelve"}
FETCHING = {"urllib.request", "http.client", "requests", "httpx", "aiohttp", "urllib3", "ftplib", "pycurl", "fsspec"}
FETCHES = {"service/probe.py"}  # a container's health check, which asks its own server


def imported_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_service_starts_without_torch() -> None:
    assert not imported_by("service.app") & {"torch", "torchvision", "training", "onnx", "matplotlib", "openvino"}


def test_models_needs_neither_a_server_nor_a_runtime() -> None:
    strangers = {"fastapi", "onnxruntime", "service", "training", "torch"}
    assert not imported_by("models.bundle, models.preprocess") & strangers


def test_serving_dependencies_hold_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    serving = project["project"]["dependencies"] + project["dependency-groups"]["cpu"]
    assert not [line for line in serving if line.startswith(("torch", "onnx>", "matplotlib"))]


@pytest.mark.parametrize("package", ["models", "service", "training"])
def test_every_file_fits_a_sitting(package: str) -> None:
    too_long = {
        path: lines for path in (ROOT / package).rglob("*.py") if (lines := len(path.read_text().split("\n"))) > 301
    }
    assert not too_long


def named(node: ast.expr) -> str:
    """`numpy.load` of `numpy.load(...)`; "" of what has no name."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{named(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def runs_what_it_reads(call: ast.Call) -> bool:
    """The call turns data into code, or may."""
    name = named(call.func)
    given = {each.arg: each.value for each in call.keywords}

    def says(keyword: str, value: object) -> bool:
        return isinstance(given.get(keyword), ast.Constant) and given[keyword].value == value  # type: ignore[attr-defined]

    if name in {"eval", "exec", "__import__", "builtins.eval", "builtins.exec"} or name.endswith("read_pickle"):
        return True
    if name == "torch.load" and not says("weights_only", True):
        return True
    loads_yaml = name.startswith("yaml.") and "load" in name and not name.startswith("yaml.safe_load")
    return loads_yaml or ("allow_pickle" in given and not says("allow_pickle", False))


def dangers(source: str, *, may_fetch: bool = False) -> Iterator[str]:
    """What a source does that could run a stranger's code, or ask a stranger's host."""
    forbidden = UNPICKLING | (set() if may_fetch else FETCHING)
    for node in ast.walk(ast.parse(source)):
        modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            modules = [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
        for module in modules:
            parts = module.split(".")
            if {".".join(parts[:length]) for length in range(1, len(parts) + 1)} & (forbidden | {"torch.load"}):
                yield f"line {node.lineno}: imports {module}"
        if isinstance(node, ast.Call) and runs_what_it_reads(node):
            yield f"line {node.lineno}: calls {named(node.func)}"


@pytest.mark.parametrize("package", ["models", "service", "training"])
def test_nothing_unpickles_evaluates_or_fetches(package: str) -> None:
    files = {str(path.relative_to(ROOT)): path.read_text() for path in (ROOT / package).rglob("*.py")}
    found = {name: list(dangers(text, may_fetch=name in FETCHES)) for name, text in files.items()}
    assert len(files) > 10
    assert not {name: each for name, each in found.items() if each}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, pickle as p",
        "from pickle import loads",
        "def f():\n    import marshal",
        "import torch\ntorch.load('x')",
        "torch.load('x', weights_only=False)",
        "from torch import load",
        "np.load('x', allow_pickle=True)",
        "numpy.load('x', allow_pickle=flag)",
        "pandas.read_pickle('x')",
        "eval('1')",
        "f = [exec(text)]",
        "__import__('x')",
        "yaml.load(text)",
        "yaml.unsafe_load(text)",
        "import urllib.request",
        "from urllib import request",
        "from urllib.request import urlopen",
        "import requests",
        "import httpx",
        "from http.client import HTTPConnection",
    ],
)
def test_what_would_unpickle_evaluate_or_fetch_is_found(source: str) -> None:
    assert list(dangers(source))


def test_what_only_looks_like_it_is_let_pass() -> None:
    harmless = [
        "import re\nre.compile('x')",
        "model.eval()",
        "torch.load('x', weights_only=True)",
        "np.load('x', allow_pickle=False)",
        "yaml.safe_load(text)",
        "from urllib.parse import urlsplit",
        "from starlette.requests import Request",
        "from .pickle import x",
    ]
    assert not [source for source in harmless if list(dangers(source))]
    assert list(dangers("import urllib.request\nimport pickle", may_fetch=True)) == ["line 2: imports pickle"]
