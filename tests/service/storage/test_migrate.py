"""The tables of a database: created, migrated step by step, by several processes at once, or refused."""

import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from models.bundle import Bundle
from service.storage.database import (
    Database,
    DatabaseTooNewError,
    StorageUnavailableError,
)
from service.storage.migrate import CONNECTION, known_revisions
from service.storage.tables import metadata
from tests.service.storage.databases import add, ids

ROOT = Path(__file__).parents[3]


def _migrate_down_and_up(connection: Connection) -> list[str]:
    """Undo all migrations and run them again; return the tables that are left in between."""
    config = Config(toml_file=str(ROOT / "pyproject.toml"))
    config.attributes[CONNECTION] = connection
    command.downgrade(config, "base")
    left = inspect(connection).get_table_names()
    command.upgrade(config, "head")
    return left


def _schema(connection: Connection) -> Any:
    if connection.dialect.name == "sqlite":
        statements = connection.execute(text("SELECT name, sql FROM sqlite_master")).all()
        return sorted(
            (name, " ".join((sql or "").split())) for name, sql in statements if "sqlite_sequence" not in name
        )
    look = inspect(connection)
    return {
        name: [
            [repr(sorted(column.items(), key=str)) for column in look.get_columns(name)],
            look.get_pk_constraint(name),
            sorted(look.get_indexes(name), key=str),
            look.get_foreign_keys(name),
            look.get_check_constraints(name),
            look.get_unique_constraints(name),
        ]
        for name in look.get_table_names()
    }


def test_metadata_and_migrations_agree(database: Database) -> None:
    def compare(connection: Connection) -> Any:
        _migrate_down_and_up(connection)
        return compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)

    assert database.run_sync(compare) == []


def test_a_new_database_has_the_tables_that_all_migrations_make(
    database_url: str, opened: Callable[[str], Database]
) -> None:
    database = opened(database_url)
    database.migrate()
    new = database.run_sync(_schema)
    assert database.run_sync(_migrate_down_and_up) == ["alembic_version"]
    assert database.run_sync(_schema) == new
    assert len(new) >= len(metadata.tables)


def test_a_new_database_needs_no_alembic(tmp_path: Path) -> None:
    code = (
        "import sys; from service.storage.database import Database\n"
        f"Database('sqlite:///{tmp_path / 'new.db'}').migrate(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_migrations_are_those_that_alembic_finds() -> None:
    config = Config(toml_file=str(ROOT / "pyproject.toml"))
    scripts = ScriptDirectory.from_config(config)
    assert known_revisions() == [script.revision for script in reversed(list(scripts.walk_revisions()))]
    assert known_revisions()[-1] == scripts.get_current_head()


@pytest.mark.parametrize("given", ["option", "variable", "nothing"])
def test_alembic_by_hand_takes_its_url_from_the_option_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: Callable[[str], Database], given: str
) -> None:
    url = f"sqlite:///{tmp_path / 'draft.db'}"
    options = Namespace(x=[f"url={url}"] if given == "option" else None)
    monkeypatch.delenv("LONGTAIL_DATABASE_PASSWORD_FILE", raising=False)
    monkeypatch.delenv("LONGTAIL_DATABASE", raising=False)
    if given == "variable":
        monkeypatch.setenv("LONGTAIL_DATABASE", url)
    config = Config(toml_file=str(ROOT / "pyproject.toml"), cmd_opts=options)
    if given == "nothing":
        with pytest.raises(CommandError, match="no database given; use `alembic -x url="):
            command.upgrade(config, "head")
        return
    command.upgrade(config, "head")
    database = opened(url)
    database.migrate()
    database.run_sync(add)
    assert ids(database) == ["a"]


def test_every_migration_can_be_undone(database_url: str, opened: Callable[[str], Database]) -> None:
    database = opened(database_url)
    database.migrate()

    assert database.run_sync(_migrate_down_and_up) == ["alembic_version"]
    database.run_sync(add)
    assert ids(database) == ["a"]


START = """
import asyncio, sys
from pathlib import Path
from service.app import create_app
from service.settings import Settings

app = create_app(Settings(models=Path(sys.argv[1]), database=sys.argv[2]))
async def start():
    async with app.router.lifespan_context(app):
        print(app.state.context.database.ready)
asyncio.run(start())
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"alembic", "mako", "psycopg", "pygments"}))
"""


def test_a_start_on_a_current_sqlite_file_imports_neither_alembic_nor_psycopg(
    tiny_bundle: Bundle, new_sqlite: Callable[[], str]
) -> None:
    start = [sys.executable, "-W", "error", "-c", START, str(tiny_bundle.path.parent.parent), new_sqlite()]
    done = subprocess.run(start, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.splitlines(), done.stderr) == (["True", ""], "")


def test_several_may_migrate_at_once(empty_database_url: str, opened: Callable[[str], Database]) -> None:
    databases = [opened(empty_database_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(Database.migrate, databases))
    databases[0].run_sync(add)
    assert ids(databases[3]) == ["a"]


@pytest.mark.slow
def test_several_processes_may_migrate_at_once(empty_database_url: str, opened: Callable[[str], Database]) -> None:
    code = "import sys; from service.storage.database import Database as D; d = D(sys.argv[1]); d.migrate(); d.close()"
    command = [sys.executable, "-W", "error", "-c", code, empty_database_url]
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(3)]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [(b"", 0)] * 3
    database = opened(empty_database_url)
    database.migrate()
    tables = database.run_sync(lambda c: inspect(c).get_table_names())
    ours = {"feedback", "jobs", "kept_chunks", "networks", "operating_point_changes"}
    assert set(tables) == ours | {"alembic_version"}


def test_a_database_of_a_later_version_is_refused(database_url: str, opened: Callable[[str], Database]) -> None:
    first = opened(database_url)
    second = opened(database_url)
    first.migrate()
    first.run_sync(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    with pytest.raises(DatabaseTooNewError, match="at migration 9999, which this version of Longtail does not know"):
        second.migrate()
    with pytest.raises(StorageUnavailableError):
        second.run_sync(add)
