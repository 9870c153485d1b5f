"""SQL engines that keep the service's promises: committed data stays, and every wait has an end.

SQLite uses a write-ahead log that is synced at every commit, so nothing acknowledged is lost if the process or the
power fails. PostgreSQL is in `postgresql.py`.
"""

import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, Pool, QueuePool, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

from service.errors import StorageUnavailableError

__all__ = [
    "EXAMPLES",
    "IMMEDIATE",
    "MAX_STATEMENT_SECONDS",
    "BadDatabaseUrlError",
    "begin_limited",
    "make_engine",
    "read_url",
    "with_password",
]

EXAMPLES = "sqlite:///state/longtail.db or postgresql://USER:PASSWORD@HOST/NAME"
IMMEDIATE = "longtail_immediate"  # execution option: take SQLite's write lock when the transaction begins
URL_OPTIONS = {  # without `password`, which belongs before the @, where it can be hidden
    "application_name", "host", "passfile", "port", "sslcert", "sslkey", "sslmode", "sslrootcert",
    "target_session_attrs",
}  # fmt: skip
MAX_STATEMENT_SECONDS = 5.0
MAX_POOL_SECONDS = 2.0  # for a free connection


class BadDatabaseUrlError(ValueError):
    """The text is not the URL of a supported database; the message never shows it, as it may hold a password."""


def read_url(text: str) -> URL:
    """Return the parsed URL, with the driver that the service uses.

    Raises:
        BadDatabaseUrlError: the text is not a URL, names another kind of database, or SQLite without a file.

    >>> read_url("postgres://me:secret@localhost/longtail").drivername
    'postgresql+psycopg'

    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise BadDatabaseUrlError(f"not a database URL; use one such as {EXAMPLES}") from None
    if url.query.keys() - URL_OPTIONS:
        raise BadDatabaseUrlError(
            f"unknown option after the ? of the URL; it may have {', '.join(sorted(URL_OPTIONS))}"
        )
    match url.drivername:
        case "sqlite" | "sqlite+pysqlite":
            if url.database in {None, "", ":memory:"} or url.host or url.query:
                raise BadDatabaseUrlError("SQLite needs a file, as in sqlite:///state/longtail.db")
            return url.set(drivername="sqlite+pysqlite")
        case "postgresql" | "postgres" | "postgresql+psycopg":
            return url.set(drivername="postgresql+psycopg")
    raise BadDatabaseUrlError(f"only SQLite and PostgreSQL are supported; use a URL such as {EXAMPLES}")


def with_password(text: str, file: Path) -> str:
    """Return the URL with the password from a UTF-8 file, without a byte order mark and the final line ending.

    Raises:
        BadDatabaseUrlError: the URL is of SQLite or has a password already, or the file is empty or unreadable.

    """
    url = read_url(text)
    if url.get_backend_name() != "postgresql" or url.password is not None:
        raise BadDatabaseUrlError(
            "a password file needs a PostgreSQL URL without a password, such as postgresql://USER@HOST/NAME"
        )
    try:
        password = file.read_text(encoding="utf-8-sig").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BadDatabaseUrlError(f"the file with the database password cannot be read: {reason}") from None
    if not password:
        raise BadDatabaseUrlError("the file with the database password is empty")
    return url.set(password=password).render_as_string(hide_password=False)


def make_engine(
    url: URL,
    *,
    max_connections: int,
    max_statement_seconds: float = MAX_STATEMENT_SECONDS,
    pool: type[Pool] = QueuePool,
) -> Engine:
    """Return an SQL engine, which connects on first use.

    Args:
        url: the URL from `read_url`.
        max_connections: the most connections open at a time.
        max_statement_seconds: the longest time for one statement.
        pool: the kind of pool; sqlalchemy.NullPool closes each connection after use.

    """
    sizes: dict[str, Any] = {}
    if pool is QueuePool:  # last in, first out: the connection used last has the warmest cache
        sizes = {
            "pool_size": max_connections,
            "max_overflow": 0,
            "pool_timeout": MAX_POOL_SECONDS,
            "pool_use_lifo": True,
        }
    if url.drivername.startswith("sqlite"):
        return _make_sqlite(url, max_statement_seconds, poolclass=pool, **sizes)
    from service.storage.postgresql import make_postgresql  # noqa: PLC0415  the driver takes 0.1 s to import

    return make_postgresql(url, max_statement_seconds, poolclass=pool, pool_pre_ping=True, **sizes)


def begin_limited(max_statement_seconds: float) -> str:
    """Return what begins a transaction in PostgreSQL whose statements have a time limit, in one round trip.

    >>> begin_limited(2.5)
    'BEGIN; SET LOCAL statement_timeout = 2500'
    """
    return f"BEGIN; SET LOCAL statement_timeout = {round(1000 * max_statement_seconds)}"


def _make_sqlite(url: URL, max_statement_seconds: float, **options: Any) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": max_statement_seconds}, **options)

    @event.listens_for(engine, "do_connect")
    def make_folder(*_: object) -> None:
        try:
            Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageUnavailableError(f"the database's folder cannot be created: {error.strerror}") from error

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # SQLAlchemy begins the transactions, not the driver
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get(IMMEDIATE, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine
