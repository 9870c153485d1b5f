"""The folder of the files that several server processes share: their metrics, and the load commands.

It lies where temporary files lie. Containers with a read-only file system often have no such place but /dev/shm, which
Docker and Kubernetes keep writable.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from service.settings import Settings, SettingsError

__all__ = ["require_shared_folder", "shared_folder"]

MEMORY = "/dev/shm"  # noqa: S108  the folder made in it has an unpredictable name and belongs to this user alone
ADVICE = (
    "mount a tmpfs at /tmp (`docker run --tmpfs /tmp`, an emptyDir in Kubernetes), set TMPDIR to a folder that can be "
    "written to, or start with --workers 1"
)


@contextmanager
def shared_folder() -> Iterator[str]:
    """Make an empty folder, and remove it at the end.

    Raises:
        SettingsError: there is no place for it; the message says what would help.

    """
    with _make() as folder:
        yield folder


def require_shared_folder(settings: Settings) -> None:
    """Check that there is a place for the shared folder if the settings ask for several processes.

    Raises:
        SettingsError: as in `shared_folder`.

    """
    if settings.workers > 1:
        with shared_folder():
            pass


def _make() -> "tempfile.TemporaryDirectory[str]":
    problems = []
    for place in (None, MEMORY):
        try:
            return tempfile.TemporaryDirectory(prefix="longtail-", dir=place)
        except OSError as error:
            problems.append(f"{place}: {error.strerror}" if place else (error.strerror or str(error)))
    raise SettingsError(
        f"several server processes (--workers) share files, and no folder for temporary files can be written to "
        f"({'; '.join(problems)}); {ADVICE}"
    )
