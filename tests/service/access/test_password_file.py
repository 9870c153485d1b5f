"""The database's password may come from a file, as containers get their secrets, and is never shown."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import make_url

from service.settings import Settings, SettingsError
from service.storage.database import Database, StorageUnavailableError
from tests.service.storage.databases import PASSWORD, Postgres

URL = "postgresql://me@127.0.0.1/x"


def read(file: object, url: str = URL) -> Settings:
    return Settings.read({"LONGTAIL_DATABASE": url, "LONGTAIL_DATABASE_PASSWORD_FILE": str(file)})


@pytest.mark.parametrize(
    "content", ["p@ss/w:ord %41\n", "p@ss/w:ord %41\r\n", "p@ss/w:ord %41", "\ufeffp@ss/w:ord %41\r\n"]
)
def test_the_password_is_the_line_in_the_file_whatever_its_characters(tmp_path: Path, content: str) -> None:
    (tmp_path / "password").write_bytes(content.encode())
    settings = read(tmp_path / "password")
    assert make_url(settings.database_url).password == "p@ss/w:ord %41"
    assert "p@ss" not in f"{settings!r} {settings.as_environment()} {Database(settings.database_url)}"
    assert Settings.read(settings.as_environment()) == settings


@pytest.mark.parametrize(
    ("content", "url", "reason"),
    [
        (None, URL, "cannot be read: No such file"),
        (b"", URL, "is empty"),
        (b"\n", URL, "is empty"),
        (b"\xff\xfe", URL, "it is not UTF-8 text"),
        ("secret".encode("utf-16"), URL, "it is not UTF-8 text"),
        (b"\xef\xbb\xbf", URL, "is empty"),
        (b"\xef\xbb\xbf\r\n", URL, "is empty"),
        (b"x", "postgresql://me:hunter2@127.0.0.1/x", "needs a PostgreSQL URL"),
        (b"x", "sqlite:///x.db", "needs a PostgreSQL URL"),
    ],
)
def test_an_invalid_password_file_is_refused(tmp_path: Path, content: bytes | None, url: str, reason: str) -> None:
    if content is not None:
        (tmp_path / "password").write_bytes(content)
    with pytest.raises(SettingsError, match=reason) as refused:
        read(tmp_path / "password", url)
    assert "LONGTAIL_DATABASE_PASSWORD_FILE" in str(refused.value)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(("password", "right"), [(PASSWORD, True), ("wrong-s3cret", False)])
def test_postgresql_accepts_the_password(
    postgres: Postgres,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    opened: Callable[[str], Database],
    password: str,
    right: bool,
) -> None:
    (tmp_path / "password").write_text(f"{password}\n")
    url = postgres.create().replace(f":{PASSWORD}@", "@")
    database = opened(read(tmp_path / "password", url).database_url)
    if right:
        database.migrate()
    else:
        with pytest.raises(StorageUnavailableError):
            database.migrate()
    assert database.ready == right
    assert password not in caplog.text
