"""The service works through PgBouncer, in session and in transaction pooling, and leaves nothing on its connections.

Two connections to PostgreSQL are fewer than the service opens to PgBouncer, so that in transaction pooling they are
shared: whatever is kept on a connection would be met by another transaction.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, select, text, update

from service.storage.database import Database, StorageUnavailableError, insert_or_update
from service.storage.migrate import CONNECTION, known_revisions
from service.storage.tables import feedback
from tests.service.conftest import Running, picture
from tests.service.routes.test_operating_points import POINTS
from tests.service.storage.databases import PASSWORD, ROW, Postgres, add, ids
from tests.service.tuning.test_tune import TUNE, labelled, zipped

ROOT = Path(__file__).parents[3]
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
CONNECTIONS = {"session": 20, "transaction": 2}  # in session pooling each client needs one of its own
Url = Callable[[str], str]


@contextmanager
def _bouncer(folder: Path, postgres: Postgres, mode: str, port: int) -> Iterator[subprocess.Popen[str]]:
    """Run PgBouncer in front of a PostgreSQL server."""
    assert PGBOUNCER is not None
    settings = {
        "listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "scram-sha-256",
        "auth_file": folder / "users", "pool_mode": mode, "default_pool_size": CONNECTIONS[mode],
        "server_login_retry": 1,
    }  # fmt: skip
    lines = [f"{name} = {value}" for name, value in settings.items()]
    target = f"* = host=127.0.0.1 port={postgres.port} user=tester password={PASSWORD}"
    (folder / "pgbouncer.ini").write_text("\n".join(["[databases]", target, "[pgbouncer]", *lines, ""]))
    (folder / "users").write_text(f'"tester" "{PASSWORD}"\n')
    folder.chmod(0o755)
    drop = []
    if os.geteuid() == 0:  # PgBouncer refuses to run as root
        drop = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig=INT", "--"]
    with subprocess.Popen(
        [*drop, PGBOUNCER, folder / "pgbouncer.ini"], cwd=folder, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        log = []
        for line in process.stderr:
            log.append(line)
            if "process up" in line:
                break
        else:
            pytest.fail(f"PgBouncer does not start: {''.join(log)}")
        try:
            yield process
        finally:
            process.kill()  # a signal that it may handle would wait for clients
            process.communicate()


@pytest.fixture(params=CONNECTIONS)
def mode(request: pytest.FixtureRequest) -> str:
    """A pooling mode."""
    return str(request.param)


@pytest.fixture
def bouncer(postgres: Postgres, mode: str) -> Iterator[Callable[[str], str]]:
    """A function that returns the URL by which a database of the server is reached through PgBouncer."""
    if PGBOUNCER is None:
        pytest.skip("PgBouncer: NOT tested, it is not installed (Debian's package is called pgbouncer)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    folder = Path(tempfile.mkdtemp(prefix="longtail-bouncer-"))  # other users cannot read pytest's folders
    try:
        with _bouncer(folder, postgres, mode, port):
            yield lambda url: url.replace(f":{postgres.port}/", f":{port}/")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def database(bouncer: Url, postgres: Postgres, migrated_postgres: str, opened: Callable[[str], Database]) -> Database:
    """A new database, open, reached through PgBouncer."""
    database = opened(bouncer(postgres.create(migrated_postgres)))
    database.migrate()
    return database


@pytest.mark.anyio
async def test_a_service_migrates_classifies_tunes_and_keeps_labels_and_points(
    bouncer: Url, postgres: Postgres, running: Running
) -> None:
    url = bouncer(postgres.create())
    async with running(database=url) as service:
        assert service.app.state.context.database.ready
        answers = [await service.classify(picture(seed)) for seed in range(12)]
        labels = [{"id": each.json()["results"][0]["id"], "label": n % 5} for n, each in enumerate(answers)]
        stored = await service.client.post("/v1/feedback", json=labels)
        assert [each["label"]["index"] for each in stored.json()["results"]] == [n % 5 for n in range(12)], stored.text
        by_labels = await service.client.post(f"{TUNE}?wait=30", json={"source": "feedback", "save_as": "live"})
        assert by_labels.json()["images"] == 12, by_labels.text
        files = {"archive": ("labelled.zip", zipped(labelled()), "application/zip")}
        by_archive = await service.client.post(f"{TUNE}?wait=30", files=files, data={"save_as": "tuned"})
        assert by_archive.json()["images"] == 30, by_archive.text
        put = await service.client.put(f"{POINTS}/night", json={"alpha": 0.75})
        assert put.status_code == 200, put.text
    async with running(database=url) as service:
        points = (await service.client.get(POINTS)).json()["operating_points"]
        summary = (await service.client.get("/v1/models/tiny/feedback")).json()
        answer = (await service.classify(picture(1), "?alpha=night")).json()
    assert set(points) >= {"live", "tuned", "night"}
    assert points["tuned"]["alpha"] == by_archive.json()["alpha"]
    assert summary["labels"] == 12
    assert answer["results"][0]["predictions"][0]["alpha"] == 0.75


def test_several_processes_migrate_an_empty_database_at_once(
    bouncer: Url, postgres: Postgres, opened: Callable[[str], Database]
) -> None:
    url = bouncer(postgres.create())
    databases = [opened(url) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(Database.migrate, databases))
    assert all(database.ready for database in databases)
    databases[0].run_sync(add)
    assert ids(databases[5]) == ["a"]


def test_an_older_database_is_migrated(bouncer: Url, postgres: Postgres, opened: Callable[[str], Database]) -> None:
    url = postgres.create()

    def downgrade(connection: Connection) -> None:
        config = Config(toml_file=str(ROOT / "pyproject.toml"))
        config.attributes[CONNECTION] = connection
        command.downgrade(config, known_revisions()[0])

    direct = opened(url)
    direct.migrate()
    direct.run_sync(add)
    direct.run_sync(downgrade)
    database = opened(bouncer(url))
    database.migrate()
    assert ids(database) == ["a"]
    revision = text("SELECT version_num FROM alembic_version")
    assert database.run_sync(lambda c: c.scalar(revision)) == known_revisions()[-1]


def test_a_statement_has_a_time_limit_and_leaves_it_on_no_connection(
    bouncer: Url, postgres: Postgres, migrated_postgres: str
) -> None:
    url = bouncer(postgres.create(migrated_postgres))
    database = Database(url, max_statement_seconds=0.2)
    database.migrate()
    sleep = "SELECT 1 FROM pg_sleep(30)"
    started = time.monotonic()
    for work in (lambda: database.number(sleep), lambda: database.run_sync(lambda c: c.execute(text(sleep)))):
        with pytest.raises(StorageUnavailableError):
            work()
    assert time.monotonic() - started < 10
    database.run_sync(add)
    assert ids(database) == ["a"]
    database.close()
    with ThreadPoolExecutor(4) as threads:  # another program of the same pool
        limits = list(threads.map(lambda _: _ask(url, "SHOW statement_timeout"), range(12)))
    assert set(limits) == {"0"}


def test_the_same_statements_many_times_on_shared_connections(database: Database) -> None:
    def work(number: int) -> None:
        database.run_sync(
            lambda c: insert_or_update(c, feedback, [ROW | {"result_id": f"{number:03}", "time": number}])
        )
        assert database.run_sync(lambda c: c.scalar(select(feedback.c.time).where(feedback.c.time == number))) == number
        assert (database.number("SELECT max(label) FROM feedback") or 0) == 2

    with ThreadPoolExecutor(8) as threads:  # a statement is prepared after five executions, if it ever is
        list(threads.map(work, range(96)))
    assert len(ids(database)) == 96


def test_many_rows_at_once_are_written_in_one_transaction(database: Database) -> None:
    rows = [ROW | {"result_id": f"{number:04}", "time": number} for number in range(1000)]
    database.run_sync(lambda c: insert_or_update(c, feedback, rows))
    assert ids(database) == [row["result_id"] for row in rows]

    def fails(connection: Connection) -> None:
        insert_or_update(connection, feedback, [ROW, ROW | {"result_id": "b"}])
        raise KeyError("of the work")

    with pytest.raises(KeyError):
        database.run_sync(fails)
    assert len(ids(database)) == 1000


def test_writers_that_read_first_lose_nothing(database: Database) -> None:
    database.run_sync(lambda c: add(c, label=0))

    def count_up(_: int) -> None:
        def work(connection: Connection) -> None:
            connection.execute(update(feedback).values(time=2.0))
            label = connection.scalar(select(feedback.c.label))
            connection.execute(update(feedback).values(label=(label or 0) + 1))

        database.run_sync(work)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(count_up, range(60)))
    assert database.run_sync(lambda c: c.scalar(select(feedback.c.label))) == 60


def test_connections_that_postgresql_closed_are_replaced(
    database: Database, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    database.run_sync(add)
    name = database._url.database
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", str(name))
    for attempt in range(3):  # PgBouncer itself may hand out a connection once before it notices
        try:
            database.run_sync(lambda c: add(c, result_id="b"))
            break
        except StorageUnavailableError:
            assert attempt < 2
    assert ids(database) == ["a", "b"]
    assert PASSWORD not in caplog.text


def _ask(url: str, statement: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(statement.encode()).fetchone()
    return found and found[0]
