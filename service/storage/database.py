"""The only access to the database: each unit of work runs in one transaction, committed before the call returns.

Every failure of the database becomes a StorageUnavailableError. Classification continues, requests that need storage
get a 503, and the log has the reason. Neither the error nor the log shows the URL's password.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, NullPool, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from service.bounded_executor import BoundedExecutor
from service.errors import StorageUnavailableError
from service.storage.migrate import DatabaseTooNewError, migrate
from service.storage.sql_engines import IMMEDIATE, MAX_STATEMENT_SECONDS, begin_limited, make_engine, read_url

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

__all__ = ["Database", "DatabaseTooNewError", "StorageUnavailableError", "insert_or_update"]

log = logging.getLogger("longtail.storage")
T = TypeVar("T")
THREADS = 4
MAX_CONNECTIONS = THREADS + 6  # the background threads use up to six
MAX_TASKS = 128  # units of work that run or wait for a thread
MAX_WAIT_SECONDS = 10.0  # for a unit of work, including its time in the queue
MAX_MIGRATION_SECONDS = 60.0  # for one statement of a migration
RETRY_SECONDS = 1.0
_ADVICE = "classification continues without it; try again in a moment"


class Database:
    """A database that is connected on first use. It refuses all work until its tables are up to date.

    Args:
        url: the URL of SQLite or PostgreSQL; `sql_engines.EXAMPLES` shows both.
        max_statement_seconds: the longest time for one statement, including its wait for locks.

    Raises:
        BadDatabaseUrlError: the URL is not valid.

    """

    def __init__(self, url: str, *, max_statement_seconds: float = MAX_STATEMENT_SECONDS) -> None:
        self._url = read_url(url)
        self._max_statement_seconds = max_statement_seconds
        self._engine = make_engine(
            self._url, max_connections=MAX_CONNECTIONS, max_statement_seconds=max_statement_seconds
        )
        self._executor = BoundedExecutor("database", threads=THREADS, max_tasks=MAX_TASKS, refusal=_too_many_tasks)
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._closed = threading.Event()
        self._last_failure = ""
        self._prepare: Callable[[Connection], None] | None = None
        self._preparations_asked = (
            0  # a migration that began before the latest request does not make the database ready
        )
        self._retry_thread: threading.Thread | None = None

    def __str__(self) -> str:
        """Return the URL without its password."""
        return self._url.set(drivername=self._url.get_backend_name()).render_as_string(hide_password=True)

    @property
    def ready(self) -> bool:
        """Whether the tables are up to date. The database may still be unavailable."""
        return self._ready.is_set()

    def migrate(self) -> None:
        """Bring the tables up to date. Several processes may do so at the same time.

        Raises:
            StorageUnavailableError: the database is unavailable.
            DatabaseTooNewError: the tables belong to a later version of Longtail.

        """
        asked = self._preparations_asked
        engine = make_engine(self._url, max_connections=1, max_statement_seconds=MAX_MIGRATION_SECONDS, pool=NullPool)
        try:
            migrate(engine)
            if self._prepare is not None:
                with engine.connect().execution_options(**{IMMEDIATE: True}) as connection, connection.begin():
                    self._prepare(connection)
        except (SQLAlchemyError, OSError, StorageUnavailableError) as error:
            raise self._unavailable(error) from error
        finally:
            engine.dispose()
        with self._lock:
            if asked == self._preparations_asked:
                self._ready.set()
        self._last_failure = ""

    def start(self, prepare: Callable[[Connection], None] | None = None) -> None:
        """Prepare the database now, or keep trying in the background until it is available.

        Args:
            prepare: runs in its own transaction before any other work.

        """
        self._prepare = prepare
        if self.ready and prepare is not None:
            self._ready.clear()
            with suppress(StorageUnavailableError):
                self.migrate()
        if not self.ready:
            self._keep_trying()

    def prepare_again(self) -> None:
        """Refuse all work until `prepare`, given to `start`, has run once more in the background."""
        with self._lock:
            self._preparations_asked += 1
            self._ready.clear()
        self._keep_trying()

    def run_sync(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own, commit it, and return its result.

        If another connection writes between the work's first read and its first write, SQLite refuses the write. Then
        `work` runs a second time, with the write lock from the beginning.

        Raises:
            StorageUnavailableError: the database is unavailable. Usually nothing was written, but if the connection
                broke during the commit that cannot be known.

        """

        def run_up_to_twice() -> T:
            try:
                return self._transaction(work, immediate=False)
            except DBAPIError as error:
                if not _is_busy(error):
                    raise
                return self._transaction(work, immediate=True)

        return self._translate_errors(run_up_to_twice)

    def number(self, query: str) -> int | None:
        """Return the one number that a query selects, at so little cost that it can run many times a second.

        PostgreSQL needs a transaction for the time limit; SQLite needs none.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """

        def select_number() -> int | None:
            connection = self._engine.raw_connection()
            try:
                cursor = connection.cursor()
                if self._engine.dialect.name == "postgresql":
                    cursor.execute(begin_limited(self._max_statement_seconds))
                cursor.execute(query)
                (number,) = cursor.fetchone() or (None,)
                cursor.close()
            finally:
                connection.close()
            return None if number is None else int(number)

        return self._translate_errors(select_number)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` as `run_sync` does, in a thread, and wait up to MAX_WAIT_SECONDS for its result.

        Raises:
            StorageUnavailableError: as in `run_sync`, or too much work waits for the database already.

        """
        task = asyncio.wrap_future(self._executor.submit(lambda: self.run_sync(work)))
        try:
            return await asyncio.wait_for(task, MAX_WAIT_SECONDS)
        except TimeoutError as error:
            raise StorageUnavailableError(f"the database takes too long; {_ADVICE}") from error

    def close(self) -> None:
        """Finish the work that was submitted, waiting up to MAX_WAIT_SECONDS, and close the connections."""
        self._closed.set()
        self._executor.close(MAX_WAIT_SECONDS)
        if (thread := self._retry_thread) is not None:
            thread.join()
        self._engine.dispose()

    def _transaction(self, work: Callable[[Connection], T], *, immediate: bool) -> T:
        with self._engine.connect().execution_options(**{IMMEDIATE: immediate}) as connection, connection.begin():
            return work(connection)

    def _translate_errors(self, work: Callable[[], T]) -> T:
        """Run `work`, and raise a StorageUnavailableError for every failure of the database."""
        if not self.ready:
            raise StorageUnavailableError(f"the database is not ready yet; {_ADVICE}")
        try:
            result = work()
        except (IntegrityError, DataError):
            raise
        except (SQLAlchemyError, StorageUnavailableError, self._engine.dialect.loaded_dbapi.Error) as error:
            raise self._unavailable(error) from error
        if self._last_failure:
            log.warning("the database answers again")
            self._last_failure = ""
        return result

    def _keep_trying(self) -> None:
        with self._lock:
            if self._retry_thread is None:
                self._retry_thread = threading.Thread(target=self._retry, name="database-start", daemon=True)
                self._retry_thread.start()

    def _retry(self) -> None:
        while not self._closed.wait(RETRY_SECONDS):
            try:
                self.migrate()
            except StorageUnavailableError:
                continue
            except Exception:
                log.exception("the database's tables cannot be brought up to date")
                return
            with self._lock:
                if self.ready:
                    self._retry_thread = None
                    break
        else:
            return
        log.warning("the database is available")

    def _unavailable(self, error: Exception) -> StorageUnavailableError:
        """Log the reason if it is a new one, and return the error for the client."""
        reason = str(error.orig if isinstance(error, DBAPIError) and error.orig else error).strip()
        if self._url.password:
            reason = reason.replace(str(self._url.password), "***")
        if reason != self._last_failure:
            log.error("the database %s fails: %s", self, reason)
            self._last_failure = reason
        return StorageUnavailableError(f"the database does not answer; {_ADVICE}")


def insert_or_update(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; a row with an existing primary key replaces the old one."""
    if rows:
        insert = _insert(connection, table)
        keys = [column.name for column in table.primary_key]
        changed = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys}
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed), rows)


def _insert(connection: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415  takes 0.05 s to import

        return postgresql.insert(table)
    return sqlite.insert(table)


def _is_busy(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def _too_many_tasks() -> StorageUnavailableError:
    return StorageUnavailableError(f"too many requests wait for the database; {_ADVICE}")
