"""`python -m docs.tools.generate`: write the reference tables from the code into docs/reference/.

A page holds the tables between `<!-- generated: NAME -->` and `<!-- end: NAME -->`; the rest of it is written by hand.
`--check` writes nothing, and exits with 1 if a page is out of date.
"""

import argparse
import sys
from collections.abc import Callable, Mapping

from docs.tools.command_tables import command_reference
from docs.tools.links import ROOT
from docs.tools.markdown import replace_block
from docs.tools.service_tables import errors_table, metrics_table, parameters_table, routes_table, settings_table
from docs.tools.training_tables import methods_table, recipe_fields_table, recipes_table
from models.__main__ import command_line as models_command_line
from service.__main__ import command_line as service_command_line
from service.keys import command_line as keys_command_line
from service.probe import command_line as probe_command_line
from service.settings import Settings
from training.cli.command_line import command_line as training_command_line

__all__ = ["BLOCKS", "main", "out_of_date"]

REFERENCE = ROOT / "docs" / "reference"

BLOCKS: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "settings.md": {"settings": settings_table},
    "errors.md": {"errors": errors_table},
    "metrics.md": {"metrics": metrics_table},
    "http.md": {"routes": routes_table, "parameters": parameters_table},
    "recipes.md": {"recipes": recipes_table, "recipe fields": recipe_fields_table, "methods": methods_table},
    "command-line.md": {
        "service": lambda: command_reference(service_command_line(), omitted=Settings.model_fields),
        "service.keys": lambda: command_reference(keys_command_line()),
        "service.probe": lambda: command_reference(probe_command_line()),
        "training": lambda: command_reference(training_command_line()),
        "models": lambda: command_reference(models_command_line()),
    },
}


def out_of_date() -> dict[str, str]:
    """Return the pages whose tables are not what the code says, each with the text it should have."""
    current = {name: (REFERENCE / name).read_text() for name in BLOCKS}
    made = {name: _filled(current[name], blocks) for name, blocks in BLOCKS.items()}
    return {name: page for name, page in made.items() if page != current[name]}


def main(arguments: list[str] | None = None) -> int:
    """Write the tables, or check them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.tools.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    check = parser.parse_args(arguments).check
    stale = out_of_date()
    for name, page in stale.items():
        if check:
            print(f"docs/reference/{name} is out of date; run: make docs", file=sys.stderr)
        else:
            (REFERENCE / name).write_text(page)
    return 1 if check and stale else 0


def _filled(page: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    for name, make in blocks.items():
        page = replace_block(page, name, make())
    return page


if __name__ == "__main__":
    sys.exit(main())
