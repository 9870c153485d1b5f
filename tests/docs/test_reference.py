"""The reference pages are the contract: they name every route, parameter, metric, code and setting, and no other."""

import re

import pytest

from docs.tools.generate import BLOCKS, out_of_date
from docs.tools.links import ROOT
from service.settings import Settings
from tests.service.conftest import CLASSIFY, Running
from tests.service.test_errors import CONTRACT
from training.recipe.named_recipes import recipe_names

REFERENCE = ROOT / "docs" / "reference"


def test_the_tables_are_what_the_code_says() -> None:
    assert not out_of_date(), "run: make docs"


@pytest.mark.parametrize("page", sorted(BLOCKS))
def test_every_row_of_a_generated_table_says_something(page: str) -> None:
    rows = re.findall(r"^\|(?!-)(.+)\|$", (REFERENCE / page).read_text(), re.MULTILINE)
    assert rows
    assert all(cells.split(" | ")[-1].strip() for cells in rows if not cells.lstrip().startswith("| |"))


@pytest.mark.anyio
async def test_every_route_and_parameter_is_documented(running: Running) -> None:
    page = (REFERENCE / "http.md").read_text()
    async with running() as service:
        paths = (await service.client.get("/openapi.json")).json()["paths"]
    served = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert set(re.findall(r"^\| `([A-Z]+) (\S+)`", page, re.MULTILINE)) == served | {("GET", "/"), ("GET", "/docs")}
    operations = [operation for methods in paths.values() for operation in methods.values()]
    asked = {parameter["name"] for operation in operations for parameter in operation.get("parameters", ())}
    assert not {name for name in asked if f"`{name}`" not in page and f"{{{name}}}" not in page}
    assert CLASSIFY.replace("tiny", "{model}") in paths


@pytest.mark.anyio
async def test_every_metric_that_is_exposed_is_documented_and_no_other(running: Running) -> None:
    async with running() as service:
        metrics = (await service.client.get("/metrics")).text
    exposed = set(re.findall(r"^# TYPE (\w+)", metrics, re.MULTILINE))
    page = (REFERENCE / "metrics.md").read_text()
    assert set(re.findall(r"^\| `((?:longtail|process)_\w+)`", page, re.MULTILINE)) == exposed
    written = {name for page in (ROOT / "docs").rglob("*.md") for name in re.findall(r"longtail_\w+", page.read_text())}
    assert written == {name for name in exposed if name.startswith("longtail_")}


def test_every_error_is_documented() -> None:
    page = (REFERENCE / "errors.md").read_text()
    codes = {(int(status), code) for status, code in re.findall(r"^\| (\d{3}) \| `(\w+)`", page, re.MULTILINE)}
    framework = {(404, "not_found"), (405, "method_not_allowed"), (500, "internal_error")}
    assert codes == {(status, code) for code, (status, _) in CONTRACT.items()} | framework


def test_every_setting_is_documented() -> None:
    flags = re.findall(r"^\| `--([\w-]+)`", (REFERENCE / "settings.md").read_text(), re.MULTILINE)
    assert flags == [name.replace("_", "-") for name in Settings.model_fields]


def test_every_recipe_is_documented() -> None:
    page = (REFERENCE / "recipes.md").read_text()
    assert set(recipe_names()) <= set(re.findall(r"^\| `([\w-]+)`", page, re.MULTILINE))
