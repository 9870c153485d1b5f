"""The one way to the database: a piece of work runs in one transaction, and is committed before it returns.

Whatever goes wrong with the database becomes StorageUnavailableError: classification goes on, what needs storage
answers 503, and the log has the reason. Neither ever shows the URL, which may hold a password.
"""

import asyncio
import logging
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, NullPool, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

from service.errors import StorageUnavailableError
from service.storage.migrate import DatabaseTooNewError, migrate
from service.storage.sql_engines import ANSWER_SECONDS, IMMEDIATE, make_engine, read_url

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

__all__ = ["Database", "DatabaseTooNewError", "StorageUnavailableError", "insert_or_ignore", "insert_or_update"]

log = logging.getLogger("longtail.storage")
T = TypeVar("T")
THREADS = 4
CONNECTIONS = THREADS + 6  # the service's own threads use some
MAX_WAITING = 128  # pieces of work, in all
WORK_SECONDS = 10.0  # how long a caller waits for its piece of work, its turn included
MIGRATION_SECONDS = 60.0
RETRY_SECONDS = 1.0


class Database:
    """A database, reached when it is first used. Until its tables have been brought up to date nothing may use them.

    Args:
        url: of SQLite or PostgreSQL, see `engines.EXAMPLES`.
        answer_seconds: how long one statement may take, or wait for others to finish theirs.

    Raises:
        BadDatabaseUrlError: it is not.

    """

    def __init__(self, url: str, *, answer_seconds: float = ANSWER_SECONDS) -> None:
        self._url = read_url(url)
        self._engine = make_engine(self._url, connections=CONNECTIONS, answer_seconds=answer_seconds)
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="database")
        self._waiting = 0
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._closed = threading.Event()
        self._last_failure = ""
        self._settle: Callable[[Connection], None] | None = None
        self._settling = 0  # how often that was asked for
        self._retrying: threading.Thread | None = None

    def __str__(self) -> str:
        """Say which database, without a password."""
        return self._url.set(drivername=self._url.get_backend_name()).render_as_string(hide_password=True)

    @property
    def ready(self) -> bool:
        """Its tables are up to date; whether it answers now is another question."""
        return self._ready.is_set()

    def migrate(self) -> None:
        """Bring the tables up to date; safe with others doing the same.

        Raises:
            StorageUnavailableError: the database is away.
            DatabaseTooNewError: the tables are those of a later Longtail.

        """
        settling = self._settling
        engine = make_engine(self._url, connections=1, answer_seconds=MIGRATION_SECONDS, pool=NullPool)
        try:
            migrate(engine)
            if self._settle is not None:
                with engine.connect().execution_options(**{IMMEDIATE: True}) as connection, connection.begin():
                    self._settle(connection)
        except (SQLAlchemyError, OSError, StorageUnavailableError) as error:
            raise self._unavailable(error) from error
        finally:
            engine.dispose()
        with self._lock:
            if settling == self._settling:
                self._ready.set()
        self._last_failure = ""

    def start(self, settle: Callable[[Connection], None] | None = None) -> None:
        """Keep trying to bring the tables up to date, in the background, where they are not yet.

        Args:
            settle: done in a transaction of its own before anything else may use the database.

        """
        self._settle = settle
        if self.ready and settle is not None:
            self._ready.clear()
            with suppress(StorageUnavailableError):
                self.migrate()
        if not self.ready:
            self._keep_trying()

    def settle_again(self) -> None:
        """Do what `start` was given once more, as soon as the database is there, before anything else uses it."""
        with self._lock:
            self._settling += 1
            self._ready.clear()
        self._keep_trying()

    def run_sync(self, work: Callable[[Connection], T]) -> T:
        """Return what `work` does in one transaction of its own, committed.

        It may be called a second time, where SQLite could not let it write after it had read, because somebody else
        wrote meanwhile; then it has the write lock from the beginning.

        Raises:
            StorageUnavailableError: the database is away; nothing was written, or nobody can say.

        """

        def once_or_twice() -> T:
            try:
                return self._transaction(work, immediate=False)
            except DBAPIError as error:
                if not _is_busy(error):
                    raise
                return self._transaction(work, immediate=True)

        return self._answer(once_or_twice)

    def number(self, query: str) -> int | None:
        """Return the one number that a query gives, for what is asked many times a second: no transaction around it.

        Raises:
            StorageUnavailableError: the database is away.

        """

        def ask() -> int | None:
            connection = self._engine.raw_connection()
            try:
                cursor = connection.cursor()
                cursor.execute(query)
                (number,) = cursor.fetchone() or (None,)
                cursor.close()
            finally:
                connection.close()
            return None if number is None else int(number)

        return self._answer(ask)

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Do the same in a thread; a caller waits for a few seconds at most.

        Raises:
            StorageUnavailableError: as `run_sync`, or too much waits for the database already.

        """
        if self._waiting >= MAX_WAITING:
            raise StorageUnavailableError(f"too much waits for the database; {_ADVICE}")
        with self._lock:
            self._waiting += 1
        doing = self._executor.submit(self.run_sync, work)
        doing.add_done_callback(self._one_less)  # when its thread is free again, however soon the caller left
        try:
            return await asyncio.wait_for(asyncio.wrap_future(doing), WORK_SECONDS)
        except TimeoutError as error:
            raise StorageUnavailableError(f"the database takes too long; {_ADVICE}") from error

    def close(self) -> None:
        """Finish what was begun, and let go of the database."""
        self._closed.set()
        self._executor.shutdown()
        if (retrying := self._retrying) is not None:
            retrying.join()
        self._engine.dispose()

    def _transaction(self, work: Callable[[Connection], T], *, immediate: bool) -> T:
        with self._engine.connect().execution_options(**{IMMEDIATE: immediate}) as connection, connection.begin():
            return work(connection)

    def _answer(self, ask: Callable[[], T]) -> T:
        """Return what comes of asking; whatever is wrong with the database is a StorageUnavailableError."""
        if not self.ready:
            raise StorageUnavailableError(f"the database is not there yet; {_ADVICE}")
        try:
            result = ask()
        except (IntegrityError, DataError):
            raise
        except (SQLAlchemyError, StorageUnavailableError, self._engine.dialect.loaded_dbapi.Error) as error:
            raise self._unavailable(error) from error
        if self._last_failure:
            log.warning("the database answers again")
            self._last_failure = ""
        return result

    def _one_less(self, _: "Future[Any]") -> None:
        with self._lock:
            self._waiting -= 1

    def _keep_trying(self) -> None:
        with self._lock:
            if self._retrying is None:
                self._retrying = threading.Thread(target=self._retry, name="database-start", daemon=True)
                self._retrying.start()

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
                    self._retrying = None
                    break
        else:
            return
        log.warning("the database is there")

    def _unavailable(self, error: Exception) -> StorageUnavailableError:
        """Log the reason, once until it changes, and return what the caller may know of it."""
        reason = str(error.orig if isinstance(error, DBAPIError) and error.orig else error).strip()
        if self._url.password:
            reason = reason.replace(str(self._url.password), "***")
        if reason != self._last_failure:
            log.error("the database %s fails: %s", self, reason)
            self._last_failure = reason
        return StorageUnavailableError(f"the database does not answer; {_ADVICE}")


_ADVICE = "classification goes on without it; try again in a moment"


def insert_or_ignore(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; where the primary key is there already, the old row stays."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), rows)


def insert_or_update(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; where the primary key is there already, the new row replaces the old one."""
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
