"""Brings a database's tables up to date when the service starts; several processes may start at the same time.

All pending migrations run in one transaction, which takes a lock before it checks which are pending: an advisory lock
in PostgreSQL, the write lock in SQLite. A database made by a later version of Longtail is refused, because this version
cannot know what its tables mean.

The names of the migration files say which migrations exist, and a table says which of them the database has. So
Alembic, which takes a third of a second to import, is only imported if a migration is pending. A new database gets the
current tables and is marked as having all migrations; a test checks that the result is the same. A migration that
inserts rows would have to do so in `_create` as well.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, MetaData, PrimaryKeyConstraint, String, Table, inspect, select, text
from sqlalchemy.exc import OperationalError

from service.storage.sql_engines import IMMEDIATE
from service.storage.tables import metadata

__all__ = ["CONNECTION", "DatabaseTooNewError", "known_revisions", "migrate", "wait_for_migration_lock"]

CONNECTION = "connection"  # the config attribute in which migrations/env.py finds the service's connection
MAX_WAL_SECONDS = 5.0
_FOLDER = Path(__file__).parent / "migrations"
_versions = Table(  # Alembic's own table
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
_LOCK = 0x10461A11  # any number that is not used for another advisory lock in this database


class DatabaseTooNewError(Exception):
    """The tables belong to a later version of Longtail; the message says what to do."""


def migrate(engine: Engine) -> None:
    """Run the pending migrations.

    Raises:
        DatabaseTooNewError: the database has a migration that this version does not know.
        sqlalchemy.exc.SQLAlchemyError: the database is unavailable.

    """
    revisions = known_revisions()
    with engine.connect() as connection:
        with connection.begin():
            if _is_current(connection, revisions):
                return
        if connection.dialect.name == "sqlite":
            _enable_write_ahead_log(connection)
        with connection.execution_options(**{IMMEDIATE: True}).begin():
            wait_for_migration_lock(connection)
            if _is_new(connection):
                _create(connection, revisions[-1])
            elif not _is_current(connection, revisions):
                _upgrade(connection)


def known_revisions() -> list[str]:
    """Return the numbers of all migrations in order, taken from the file names vNUMBER_TITLE.py."""
    return sorted(path.name[1:].partition("_")[0] for path in (_FOLDER / "versions").glob("v*_*.py"))


def wait_for_migration_lock(connection: Connection) -> None:
    """Wait until no other process migrates, and hold the lock until the transaction ends.

    SQLite needs no lock of its own here: the transaction has the write lock.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _is_new(connection: Connection) -> bool:
    return not inspect(connection).has_table(_versions.name)


def _create(connection: Connection, revision: str) -> None:
    metadata.create_all(connection, checkfirst=False)  # a foreign table of the same name is an error, as in a migration
    _versions.create(connection)
    connection.execute(_versions.insert().values(version_num=revision))


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  the module's docstring says why
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes[CONNECTION] = connection
    command.upgrade(config, "head")


def _is_current(connection: Connection, revisions: Sequence[str]) -> bool:
    current = None
    if not _is_new(connection):
        current = connection.execute(select(_versions.c.version_num)).scalar_one_or_none()
    if current is not None and current not in revisions:
        raise DatabaseTooNewError(
            f"the database is at migration {current}, which this version of Longtail does not know; "
            "update Longtail, or give it another database (LONGTAIL_DATABASE)"
        )
    return current == revisions[-1]


def _enable_write_ahead_log(connection: Connection) -> None:
    """Let readers work beside a writer. The file remembers the setting. Wait if another process holds the file."""
    deadline = time.monotonic() + MAX_WAL_SECONDS
    raw = connection.connection.driver_connection
    assert raw is not None  # noqa: S101  the connection is open
    while True:
        try:
            raw.execute("PRAGMA journal_mode = WAL")
        except Exception as error:
            if time.monotonic() > deadline:
                raise OperationalError("PRAGMA journal_mode = WAL", None, error) from error
            time.sleep(0.02)  # SQLite's own timeout does not cover this lock
        else:
            return
