"""SQLAlchemy engines that keep our promises: what is committed stays, and no caller waits for ever.

SQLite: write-ahead log, synced at every commit, so that killing the process or the power loses nothing acknowledged.
PostgreSQL is next door, in `postgresql.py`.
"""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Pool, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from service.errors import StorageUnavailableError

__all__ = ["ANSWER_SECONDS", "EXAMPLES", "IMMEDIATE", "BadDatabaseUrlError", "make_engine", "read_url", "with_password"]

EXAMPLES = "sqlite:///state/longtail.db or postgresql://USER:PASSWORD@HOST/NAME"
IMMEDIATE = "longtail_immediate"  # execution option: take SQLite's write lock at once
OPTIONS = {
    "application_name", "host", "passfile", "port", "sslcert", "sslkey", "sslmode", "sslrootcert",
    "target_session_attrs",
}  # fmt: skip  # of a URL; a password has its own place, where it can be told from the rest
ANSWER_SECONDS = 5.0  # for one statement
POOL_SECONDS = 2.0


class BadDatabaseUrlError(ValueError):
    """The text is no URL of a database we support; the sentence never shows it, for it may hold a password."""


def read_url(text: str) -> URL:
    """Return the URL, with the driver we use.

    Raises:
        BadDatabaseUrlError: not a URL, another kind of database, or SQLite without a file.

    >>> read_url("postgres://me:secret@localhost/longtail").drivername
    'postgresql+psycopg'

    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise BadDatabaseUrlError(f"not a database's URL; something like {EXAMPLES} works") from None
    if url.query.keys() - OPTIONS:
        raise BadDatabaseUrlError(f"after the ? of the URL may be: {', '.join(sorted(OPTIONS))}; nothing else")
    match url.drivername:
        case "sqlite" | "sqlite+pysqlite":
            if url.database in {None, "", ":memory:"} or url.host or url.query:
                raise BadDatabaseUrlError("SQLite needs a file, as in sqlite:///state/longtail.db")
            return url.set(drivername="sqlite+pysqlite")
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return url.set(drivername="postgresql+psycopg")
    raise BadDatabaseUrlError(f"only SQLite and PostgreSQL are supported; something like {EXAMPLES} works")


def with_password(text: str, file: Path) -> str:
    """Return the URL with the password that a file holds, which the file's last line ending is no part of.

    Raises:
        BadDatabaseUrlError: SQLite, a URL with a password of its own, or a file that is empty or cannot be read.

    """
    url = read_url(text)
    if url.get_backend_name() != "postgresql" or url.password is not None:
        raise BadDatabaseUrlError("a password from a file goes with a URL such as postgresql://USER@HOST/NAME only")
    try:
        password = file.read_text().removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise BadDatabaseUrlError(f"the file of the database's password cannot be read: {reason}") from None
    if not password:
        raise BadDatabaseUrlError("the file of the database's password is empty")
    return url.set(password=password).render_as_string(hide_password=False)


def make_engine(
    url: URL, *, connections: int, answer_seconds: float = ANSWER_SECONDS, pool: type[Pool] = QueuePool
) -> Engine:
    """Return an engine, which connects when it is first used.

    Args:
        url: as `read_url` gives it.
        connections: most connections open at a time.
        answer_seconds: how long one statement may take.
        pool: sqlalchemy.NullPool closes each connection after use.

    """
    sizes: dict[str, Any] = {}
    if pool is QueuePool:  # the connection used last comes next: its cache is warm
        sizes = {"pool_size": connections, "max_overflow": 0, "pool_timeout": POOL_SECONDS, "pool_use_lifo": True}
    if url.drivername.startswith("sqlite"):
        return _sqlite(url, answer_seconds, poolclass=pool, **sizes)
    from service.storage.postgresql import make_postgresql  # noqa: PLC0415  its driver takes 0.1 s to import

    return make_postgresql(url, answer_seconds, poolclass=pool, pool_pre_ping=True, **sizes)


def _sqlite(url: URL, answer_seconds: float, **options: Any) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": answer_seconds}, **options)

    @event.listens_for(engine, "do_connect")
    def make_folder(*_: object) -> None:
        try:
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageUnavailableError(f"the database's folder cannot be made: {error.strerror}") from error

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says so, not at the first write
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(IMMEDIATE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
