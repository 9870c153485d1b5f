"""Databases for tests: SQLite files, and a PostgreSQL server that is started for the test run.

Each test gets its own database, copied from one that is up to date already, which takes milliseconds.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, select

from service.storage.database import Database
from service.storage.tables import feedback

__all__ = ["BACKENDS", "PASSWORD", "ROW", "Postgres", "add", "ids"]

BACKENDS = ("sqlite", "postgresql")
ROW: dict[str, Any] = {
    "result_id": "a", "model": "m", "version": 1, "label": 2, "low": float("-inf"), "high": None, "time": 1.5,
}  # fmt: skip
PASSWORD = "s3cret-of-the-tests"
SERVERS = Path("/usr/lib/postgresql")
UNSAFE_BUT_FAST = {
    "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "16MB",
    "max_connections": "200", "log_min_messages": "log", "log_checkpoints": "off", "unix_socket_directories": "",
    "listen_addresses": "127.0.0.1",
}  # fmt: skip


@dataclass
class Postgres:
    """A running PostgreSQL server."""

    port: int
    start: Callable[[], "subprocess.Popen[str]"]

    def __post_init__(self) -> None:
        self.process = self.start()

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT closes all connections, SIGQUIT also skips writing its memory to disk."""
        self.process.send_signal(how)
        self.process.communicate(timeout=30)

    def start_again(self) -> None:
        """Start the server again, on the same data and port."""
        self.process = self.start()

    def url(self, name: str, password: str = PASSWORD) -> str:
        return f"postgresql://tester:{password}@127.0.0.1:{self.port}/{name}"

    def create(self, template: str = "template1") -> str:
        """Create a database, and return its URL."""
        name = f"t{secrets.token_hex(6)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url(name)

    def execute(self, statement: str, *values: str) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement.encode(), values or None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL with a password, on a port of 127.0.0.1. The test is skipped with a message if it is not installed."""
    found = sorted(SERVERS.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if not found:
        pytest.skip(f"PostgreSQL: NOT tested, no server in {SERVERS} (Debian's package is called postgresql)")
    with _server(found[-1].parent) as server:
        yield server


@pytest.fixture(scope="session")
def migrated_postgres(postgres: Postgres) -> str:
    """The name of a database that is up to date, a template for others."""
    url = postgres.create()
    _migrate(url)
    return url.rpartition("/")[2]


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that is up to date, a template for others."""
    path = tmp_path_factory.mktemp("database") / "template.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def new_sqlite(migrated_sqlite: Path, tmp_path: Path) -> Callable[[], str]:
    """A function that returns the URL of a new SQLite file that is up to date."""

    def new() -> str:
        return f"sqlite:///{shutil.copy(migrated_sqlite, tmp_path / f'{secrets.token_hex(6)}.db')}"

    return new


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest) -> str:
    """A new database that is up to date, one of each kind."""
    if request.param == "sqlite":
        new: Callable[[], str] = request.getfixturevalue("new_sqlite")
        return new()
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create(request.getfixturevalue("migrated_postgres"))


@pytest.fixture(params=BACKENDS)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without tables, one of each kind; the SQLite file does not exist yet."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'folder' / 'empty.db'}"
    postgres: Postgres = request.getfixturevalue("postgres")
    return postgres.create()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A new database, open."""
    database = Database(database_url)
    database.migrate()
    yield database
    database.close()


def add(connection: Connection, **changes: Any) -> None:
    """Insert a row of feedback."""
    connection.execute(feedback.insert(), ROW | changes)


def ids(database: Database) -> list[str]:
    """Return the result ids of all rows, by time."""
    return database.run_sync(lambda connection: list(connection.scalars(select(feedback.c.result_id).order_by("time"))))


@pytest.fixture
def opened() -> Iterator[Callable[[str], Database]]:
    """A function that opens databases, which are closed after the test."""
    databases: list[Database] = []

    def open_database(url: str) -> Database:
        databases.append(Database(url))
        return databases[-1]

    yield open_database
    for database in databases:
        database.close()


def _migrate(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.close()


@contextmanager
def _server(programs: Path) -> Iterator[Postgres]:
    folder = Path(tempfile.mkdtemp(prefix="longtail-pg-"))  # other users cannot read pytest's folders
    (folder / "password").write_text(PASSWORD)
    drop: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = next(line.split(":") for line in Path("/etc/passwd").read_text().splitlines() if line[:6] == "nobody")
        for path in (folder, folder / "password"):
            os.chown(path, int(user[2]), int(user[3]))
        drop = ["setpriv", f"--reuid={user[2]}", f"--regid={user[3]}", "--clear-groups", "--pdeathsig=INT", "--"]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    data = folder / "data"
    make = ["initdb", "--no-sync", "-U", "tester", "-E", "UTF8", "--locale=C", "-A", "scram-sha-256"]
    try:
        subprocess.run(
            [*drop, programs / make[0], *make[1:], f"--pwfile={folder / 'password'}", data],
            check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        options = [f"-c{name}={value}" for name, value in UNSAFE_BUT_FAST.items()]
        command = [*drop, programs / "postgres", "-D", data, f"-p{port}", *options]
        server = Postgres(port, lambda: _start(command, folder))
        yield server
        server.stop(signal.SIGQUIT)  # at once: the data is not needed any more
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(command: Sequence[str | Path], folder: Path) -> "subprocess.Popen[str]":
    """Return the server's process as soon as it accepts connections."""
    process = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    log = []
    for line in process.stderr:
        log.append(line)
        if "ready to accept connections" in line:
            return process
    pytest.fail(f"PostgreSQL does not start: {''.join(log)}")
