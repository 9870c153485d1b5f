"""SQLAlchemy's engine for PostgreSQL: every wait has an end, also where the server hangs with its connections open."""

import time
from collections.abc import Generator
from typing import Any

import psycopg
from sqlalchemy import URL, Engine, create_engine, event

__all__ = ["make_postgresql"]

CONNECT_SECONDS = 2


def make_postgresql(url: URL, answer_seconds: float, **options: Any) -> Engine:
    """Return an engine, which connects when it is first used.

    Args:
        url: as `engines.read_url` gives it.
        answer_seconds: how long one statement may take.
        options: SQLAlchemy's own, of the pool.

    """
    arguments: dict[str, Any] = {
        "connect_timeout": CONNECT_SECONDS,
        "options": f"-c statement_timeout={round(1000 * answer_seconds)} -c timezone=UTC",
        "application_name": url.query.get("application_name", "longtail"),
    }
    engine = create_engine(url, hide_parameters=True, connect_args=arguments, **options)
    patience = 1.2 * answer_seconds  # the server gives up first, and can say so

    class PatientConnection(psycopg.Connection[Any]):
        """Gives up on a server that does not answer; psycopg itself would wait for as long as the socket is open."""

        def wait(self, gen: Generator[Any, Any, Any], *arguments: Any, **options: Any) -> Any:
            return super().wait(_until(gen, self, time.monotonic() + patience), *arguments, **options)

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: object, _record: object, positional: list[Any], named: dict[str, Any]) -> Any:
        return PatientConnection.connect(*positional, **named)

    return engine


def _until(work: Generator[Any, Any, Any], connection: psycopg.Connection[Any], deadline: float) -> Any:
    """Pass psycopg's conversation with its socket on, until the deadline; psycopg looks at it every 0.1 s."""
    try:
        wanted = next(work)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                connection.pgconn.finish()
                raise psycopg.OperationalError("the server does not answer")
            wanted = work.send(ready)
    except StopIteration as done:
        return done.value
