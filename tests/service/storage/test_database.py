"""Each unit of work is one transaction, committed before it returns, and every wait has an end."""

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, delete, select, text, update
from sqlalchemy.exc import IntegrityError

from service.settings import Settings, SettingsError
from service.storage.database import (
    Database,
    StorageUnavailableError,
    insert_or_update,
)
from service.storage.sql_engines import BadDatabaseUrlError, read_url
from service.storage.tables import feedback
from tests.service.storage.databases import PASSWORD, ROW, Postgres, add, ids

ROOT = Path(__file__).parents[3]


def test_what_was_written_is_read_back_with_infinities(database: Database) -> None:
    database.run_sync(add)
    assert database.run_sync(lambda c: c.execute(select(feedback)).one()) == tuple(ROW.values())


def test_work_that_fails_leaves_nothing(database: Database) -> None:
    def work(connection: Connection) -> None:
        add(connection)
        raise KeyError("of the work")

    with pytest.raises(KeyError):
        database.run_sync(work)
    with pytest.raises(IntegrityError):
        database.run_sync(lambda c: (add(c), add(c)))
    assert ids(database) == []


def test_a_row_with_an_existing_key_replaces_the_old_one(database: Database) -> None:
    database.run_sync(lambda c: insert_or_update(c, feedback, [ROW, ROW | {"result_id": "b", "time": 2.0}]))
    database.run_sync(lambda c: insert_or_update(c, feedback, [ROW | {"result_id": "b", "label": 4, "low": None}]))
    database.run_sync(lambda c: insert_or_update(c, feedback, []))
    rows = database.run_sync(lambda c: c.execute(select(feedback.c["label", "low"]).order_by("label")).all())
    assert rows == [(2, float("-inf")), (4, None)]


def test_a_number_is_read_without_a_transaction(database: Database) -> None:
    query = "SELECT max(label) FROM feedback"
    assert database.number(query) is None
    database.run_sync(add)
    assert database.number(query) == 2
    with pytest.raises(StorageUnavailableError, match="does not answer"):
        database.number("SELECT max(label) FROM nowhere")
    database.run_sync(lambda c: add(c, result_id="b", label=7))
    assert database.number(query) == 7


def test_many_at_once_lose_nothing(database: Database) -> None:
    database.run_sync(lambda c: add(c, label=0))

    def count_up(_: int) -> None:
        def work(connection: Connection) -> None:  # reads, then writes what it read
            connection.execute(update(feedback).values(time=2.0))
            label = connection.scalar(select(feedback.c.label))
            connection.execute(update(feedback).values(label=(label or 0) + 1))

        database.run_sync(work)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(count_up, range(60)))
    assert database.run_sync(lambda c: c.scalar(select(feedback.c.label))) == 60


def test_work_that_reads_before_it_writes_succeeds_despite_another_writer(database: Database) -> None:
    calls = []

    def work(connection: Connection) -> None:
        calls.append(len(connection.execute(select(feedback)).all()))
        if len(calls) == 1:
            database.run_sync(add)
        connection.execute(delete(feedback))

    database.run_sync(work)
    assert ids(database) == []
    assert calls in ([0], [0, 1])  # SQLite runs the work again, PostgreSQL does not need to


def test_a_database_that_becomes_available_later_is_used(
    tmp_path: Path, opened: Callable[[str], Database], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "folder").touch()  # a file in place of the folder
    database = opened(f"sqlite:///{tmp_path / 'folder' / 'x.db'}")
    with pytest.raises(StorageUnavailableError):
        database.migrate()
    with pytest.raises(StorageUnavailableError, match="not ready yet"):
        database.run_sync(add)
    assert "folder cannot be created: File exists" in caplog.text
    (tmp_path / "folder").unlink()
    database.start()
    assert database._ready.wait(30)
    database.run_sync(add)


def test_a_damaged_file_is_an_unavailable_database(tmp_path: Path, opened: Callable[[str], Database]) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"no database at all, by no means " * 400)
    with pytest.raises(StorageUnavailableError, match="does not answer"):
        opened(f"sqlite:///{path}").migrate()


@pytest.mark.parametrize("what", ["refused", "wrong password", "no such database", "silent"])
def test_an_unreachable_postgresql_is_given_up_within_seconds_and_no_password_is_shown(
    postgres: Postgres, opened: Callable[[str], Database], caplog: pytest.LogCaptureFixture, what: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and never sends anything
        port = silent.getsockname()[1] if what == "silent" else 9
        url = {
            "wrong password": postgres.url("postgres", "wr0ng-password"),
            "no such database": postgres.url("nope"),
        }.get(what, f"postgresql://tester:{PASSWORD}@127.0.0.1:{port}/x")
        started = time.monotonic()
        with pytest.raises(StorageUnavailableError) as refused:
            opened(url).migrate()
    assert time.monotonic() - started < 10
    assert "127.0.0.1" in caplog.text
    assert not [word for word in (PASSWORD, "wr0ng") if word in caplog.text + str(refused.value) + str(opened(url))]


def test_a_postgresql_that_was_unavailable_is_used_again(
    postgres: Postgres, migrated_postgres: str, opened: Callable[[str], Database], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    url = postgres.create(migrated_postgres)
    name = url.rpartition("/")[2]
    database = opened(url)
    database.migrate()
    database.run_sync(add)
    postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)
    for _ in range(3):
        with pytest.raises(StorageUnavailableError):
            database.run_sync(add)
    postgres.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert ids(database) == ["a"]
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1  # logged once, not every time
    assert "answers again" in caplog.text


def test_a_postgresql_that_hangs_with_open_connections_is_given_up_within_seconds(
    postgres: Postgres, migrated_postgres: str
) -> None:
    database = Database(postgres.create(migrated_postgres), max_statement_seconds=0.2)
    database.migrate()
    backend = database.run_sync(lambda c: c.scalar(text("SELECT pg_backend_pid()")))
    started = time.monotonic()
    for process in (backend, postgres.process.pid):
        os.kill(process, signal.SIGSTOP)
    try:
        with pytest.raises(StorageUnavailableError):
            database.run_sync(add)
    finally:
        for process in (backend, postgres.process.pid):
            os.kill(process, signal.SIGCONT)
    assert time.monotonic() - started < 10
    database.run_sync(add)
    database.close()


def test_a_statement_has_a_timeout(
    postgres: Postgres, migrated_postgres: str, opened: Callable[[str], Database]
) -> None:
    database = opened(postgres.create(migrated_postgres))
    database.migrate()
    assert database.run_sync(lambda c: c.scalar(text("SHOW statement_timeout"))) == "5s"


def test_the_wait_for_a_locked_sqlite_file_has_an_end(new_sqlite: Callable[[], str]) -> None:
    database = Database(new_sqlite(), max_statement_seconds=0.1)
    database.migrate()

    def hold(connection: Connection) -> None:
        add(connection)
        with pytest.raises(StorageUnavailableError):
            database.run_sync(lambda c: add(c, result_id="b"))

    database.run_sync(hold)
    assert ids(database) == ["a"]
    database.close()


@pytest.mark.anyio
async def test_work_beyond_the_bound_is_refused_at_once(database: Database) -> None:
    gate = threading.Event()
    waiting = [asyncio.create_task(database.run(lambda _: gate.wait())) for _ in range(128)]
    await asyncio.sleep(0)
    with pytest.raises(StorageUnavailableError, match="too many requests wait"):
        await database.run(lambda _: None)
    gate.set()
    assert await asyncio.gather(*waiting) == [True] * 128
    assert await database.run(lambda _: 7) == 7


@pytest.mark.anyio
async def test_a_cancelled_caller_frees_its_place_once_its_thread_is_free(database: Database) -> None:
    gate = threading.Event()
    tasks = [asyncio.create_task(database.run(lambda _: gate.wait())) for _ in range(8)]
    await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert database._executor.tasks == 4  # as many as there are threads
    gate.set()
    assert await database.run(lambda _: 7) == 7
    while database._executor.tasks:
        await asyncio.sleep(0)


@pytest.mark.slow
def test_a_killed_process_loses_nothing_that_was_committed(
    database_url: str, opened: Callable[[str], Database]
) -> None:
    code = (
        "import sys; from service.storage.database import Database\n"
        "from tests.service.storage.test_database import add\n"
        "database = Database(sys.argv[1]); database.migrate()\n"
        "for i in range(10**6):\n"
        "    database.run_sync(lambda c: add(c, result_id=str(i), time=float(i))); print(i, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, database_url], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        committed = [next(process.stdout) for _ in range(50)]
        process.kill()
        committed += process.stdout.readlines()
    database = opened(database_url)
    database.migrate()
    assert set(map(str.strip, committed)) <= set(ids(database))


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("hunter2", "not a database URL; use one such as sqlite:///state/longtail.db or"),
        ("postgresql://me:hunter2@host:port/x", "not a database URL"),
        ("mysql://me:hunter2@host/x", "only SQLite and PostgreSQL are supported"),
        ("sqlite://", "SQLite needs a file"),
        ("sqlite:///:memory:", "SQLite needs a file"),
        (
            "postgresql://me@host/x?password=hunter2",
            "unknown option after the ? of the URL; it may have application_name, host",
        ),
        ("", "not a database URL"),
    ],
)
def test_a_bad_url_is_refused_without_being_shown(url: str, sentence: str) -> None:
    with pytest.raises(BadDatabaseUrlError):
        read_url(url)
    with pytest.raises(SettingsError) as refused:
        Settings.read({"LONGTAIL_DATABASE": url})
    assert str(refused.value).startswith(f"LONGTAIL_DATABASE (--database) is refused: {sentence}")
    assert "hunter2" not in str(refused.value) + repr(refused.value.__cause__)


def test_settings_do_not_show_the_password_of_the_url() -> None:
    settings = Settings(database="postgres://me:hunter2@host/x")
    assert "hunter2" not in repr(settings)
    assert Settings.read(settings.as_environment()).database == settings.database
