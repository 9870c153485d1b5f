"""Bringing a database's tables up to date when the service starts, whoever else starts at the same moment.

Every migration that is due runs in one transaction, which holds a lock from before it looks: PostgreSQL's advisory
lock, SQLite's own write lock. A database that a later Longtail made is left alone: we may not know what it means.

Which migrations there are, the names of their files say, and which the database has, one table: Alembic, which takes a
third of a second to import, is only needed where one is due. A new database gets the tables as they are now, and is
told that it has all migrations; a test holds that to be the same. (A migration that writes rows would need its place in
`_create` as well.)
"""

import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, MetaData, PrimaryKeyConstraint, String, Table, inspect, select, text
from sqlalchemy.exc import OperationalError

from service.storage.sql_engines import IMMEDIATE
from service.storage.tables import metadata

__all__ = ["CONNECTION", "DatabaseTooNewError", "known_revisions", "migrate", "one_at_a_time"]

CONNECTION = "connection"  # where migrations/env.py finds ours
WAL_SECONDS = 5.0
_FOLDER = Path(__file__).parent / "migrations"
_versions = Table(  # Alembic's own
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
_LOCK = 0x10461A11  # any number that nobody else takes in this database


class DatabaseTooNewError(Exception):
    """The tables are those of a later Longtail; the sentence says what to do."""


def migrate(engine: Engine) -> None:
    """Run the migrations that are due.

    Raises:
        DatabaseTooNewError: it has migrations this code does not know.
        sqlalchemy.exc.SQLAlchemyError: the database is away.

    """
    revisions = known_revisions()
    with engine.connect() as connection:
        with connection.begin():
            if _is_current(connection, revisions):
                return
        if connection.dialect.name == "sqlite":
            _write_ahead(connection)
        with connection.execution_options(**{IMMEDIATE: True}).begin():
            one_at_a_time(connection)
            if _is_new(connection):
                _create(connection, revisions[-1])
            elif not _is_current(connection, revisions):
                _upgrade(connection)


def known_revisions() -> list[str]:
    """Return the migrations there are, in order: the numbers in vNUMBER_WHAT.py."""
    return sorted(path.name[1:].partition("_")[0] for path in (_FOLDER / "versions").glob("v*_*.py"))


def one_at_a_time(connection: Connection) -> None:
    """Wait for whoever else starts at the same moment, until the transaction ends; SQLite's has its write lock."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _is_new(connection: Connection) -> bool:
    return not inspect(connection).has_table(_versions.name)


def _create(connection: Connection, revision: str) -> None:
    metadata.create_all(connection, checkfirst=False)  # a table of somebody else's is an error, as in a migration
    _versions.create(connection)
    connection.execute(_versions.insert().values(version_num=revision))


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415  see above
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
            f"the database is at migration {current}, which this Longtail does not know; "
            "update Longtail, or give it a database of its own (LONGTAIL_DATABASE)"
        )
    return current == revisions[-1]


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
