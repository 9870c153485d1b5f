"""The SQL engine for PostgreSQL: every wait has an end, even if the server hangs with its connections open.

It works through PgBouncer too, in session and in transaction pooling, where every transaction may run on another
connection to the server. So nothing may be kept on a connection: the time limit is set in each transaction, no
statement is prepared on the server, and locks end with their transaction. PgBouncer also refuses the start-up parameter
`options`.
"""

import time
from collections.abc import Generator
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event

from service.storage.sql_engines import begin_limited

__all__ = ["make_postgresql"]

CONNECT_SECONDS = 2


def make_postgresql(url: URL, max_statement_seconds: float, **options: Any) -> Engine:
    """Return an SQL engine, which connects on first use.

    Args:
        url: the URL from `sql_engines.read_url`.
        max_statement_seconds: the longest time for one statement.
        options: SQLAlchemy's options for the connection pool.

    """
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "autocommit": True,  # SQLAlchemy begins the transactions, not the driver
        "prepare_threshold": None,
        "application_name": url.query.get("application_name", "longtail"),
    }
    engine = create_engine(url, hide_parameters=True, connect_args=arguments, **options)
    max_wait_seconds = 1.2 * max_statement_seconds  # longer, so that a working server can report its own timeout

    class TimedConnection(psycopg.Connection[Any]):
        """A connection that gives up on a silent server; psycopg itself waits as long as the socket is open."""

        def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
            return super().wait(_until(gen, self, time.monotonic() + max_wait_seconds), *arguments, **options)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, positional: list[Any], named: dict[str, Any]) -> Any:
        return TimedConnection.connect(*positional, **named)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin_limited(max_statement_seconds))

    return engine


def _until(work: Generator[Any, Any, Any], connection: psycopg.Connection[Any], deadline: float) -> Any:
    """Run psycopg's protocol generator, and raise after the deadline; psycopg polls its socket every 0.1 s."""
    try:
        awaited = next(work)
        while True:
            ready = yield awaited
            if not ready and time.monotonic() > deadline:
                connection.pgconn.finish()
                raise psycopg.OperationalError("the server does not answer")
            awaited = work.send(ready)
    except StopIteration as stop:
        return stop.value
