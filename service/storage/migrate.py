"""Bringing a database's tables up to date when the service starts, whoever else starts at the same moment.

Every migration that is due runs in one transaction, which holds a lock from before it looks: PostgreSQL's advisory
lock, SQLite's own write lock. A database that a later Longtail made is left alone: we may not know what it means.
"""

import time
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from service.storage.engines import IMMEDIATE

__all__ = ["CONNECTION", "DatabaseTooNewError", "migrate", "one_at_a_time"]

CONNECTION = "connection"  # where migrations/env.py finds ours
WAL_SECONDS = 5.0
_FOLDER = Path(__file__).parent / "migrations"
_LOCK = 0x10461A11  # any number that nobody else takes in this database


class DatabaseTooNewError(Exception):
    """The tables are those of a later Longtail; the sentence says what to do."""


def migrate(engine: Engine) -> None:
    """Run the migrations that are due.

    Raises:
        DatabaseTooNewError: it has migrations this code does not know.
        sqlalchemy.exc.SQLAlchemyError: the database is away.
    """
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        with connection.begin():
            if _is_current(connection, scripts):
                return
        if connection.dialect.name == "sqlite":
            _write_ahead(connection)
        with connection.execution_options(**{IMMEDIATE: True}).begin():
            one_at_a_time(connection)
            if not _is_current(connection, scripts):
                config.attributes[CONNECTION] = connection
                command.upgrade(config, "head")


def one_at_a_time(connection: Connection) -> None:
    """Wait for whoever else starts at the same moment, until the transaction ends; SQLite's has its write lock."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _is_current(connection: Connection, scripts: ScriptDirectory) -> bool:
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise DatabaseTooNewError(
            f"the database is at migration {current}, which this Longtail does not know; "
            "update Longtail, or give it a database of its own (LONGTAIL_DATABASE)"
        )
    return current == scripts.get_current_head()


def _write_ahead(connection: Connection) -> None:
    """Let readers and a writer go side by side; the file remembers. Whoever holds the file now is waited for."""
    deadline = time.monotonic() + WAL_SECONDS
    raw = connection.connection.driver_connection
    assert raw is not None  # noqa: S101  the connection is open
    while True:
        try:
            raw.execute("PRAGMA journal_mode = WAL")
        except Exception as error:
            if time.monotonic() > deadline:
                raise OperationalError("PRAGMA journal_mode = WAL", None, error) from error
            time.sleep(0.02)  # SQLite does not wait by itself for this one lock
        else:
            return
