"""Operating points: the alpha that a name stands for, from the bundle or from the database, shared by all processes.

A stored point overrides the bundle's point of the same name. A request looks a name up in memory. A thread asks the
database ten times a second for changes, so a change made in one process is soon in force in all of them; the request
that makes the change is answered after that time. While the database is unavailable the last known points stay in
force. Every change is kept as a row: the new and the old alpha, who made it, when and why.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection

from models.manifest import NAME_PATTERN, Manifest
from models.strict_json import is_number
from service.errors import (
    OperatingPointFixedError,
    OperatingPointNameError,
    StorageUnavailableError,
    TooManyOperatingPointsError,
    UnknownOperatingPointError,
)
from service.repeating import Repeating
from service.storage import point_changes
from service.storage.database import Database
from service.storage.point_changes import Change, StoredPoint, StoredPoints

__all__ = ["DEFAULT_ALPHA", "OperatingPoints", "PointInForce"]

POLL_SECONDS = 0.1
RETRY_SECONDS = 1.0  # between two polls while the database is unavailable
SPREAD_SECONDS = 0.3  # by then every healthy process has polled: one interval, and a slow query
DEFAULT_ALPHA = "balanced"  # the operating point of a request without alpha
FIXED = "head"  # always the plain classifier
_NOTHING_STORED = StoredPoints(0, {})


class PointInForce(NamedTuple):
    """An operating point in force; `since` is in seconds since 1970, None for a point of the bundle."""

    alpha: float
    chosen_by: str
    source: Literal["bundle", "stored"]
    since: float | None


@dataclass(frozen=True)
class _Snapshot:
    """The points that the database held at one moment.

    Attributes:
        stored: the stored points.
        merged: model and version -> the bundle's and the stored points, filled on first use. The manifest tells whether
            the entry is still valid.

    """

    stored: StoredPoints = _NOTHING_STORED
    merged: dict[tuple[str, int], tuple[Manifest, Mapping[str, PointInForce]]] = field(default_factory=dict)

    def stored_for(self, manifest: Manifest) -> Mapping[str, StoredPoint]:
        """Return name -> stored point for one model and version."""
        return self.stored.points.get((manifest.name, manifest.version), {})


class OperatingPoints:
    """The operating points in force.

    Args:
        database: the database with the changes.
        interval: seconds between two polls.
        clock: returns seconds since 1970.

    Attributes:
        spread_seconds: how long a change waits for the other processes to apply it.

    """

    def __init__(
        self, database: Database, *, interval: float = POLL_SECONDS, clock: Callable[[], float] = time.time
    ) -> None:
        self.spread_seconds = SPREAD_SECONDS
        self._database = database
        self._interval = interval
        self._clock = clock
        self._snapshot = _Snapshot()
        self._changes_made = 0
        self._lock = threading.Lock()
        self._thread = Repeating(
            "operating-points",
            self._poll_step,
            failure="operating points are not read; the last known ones stay in force",
            first_pause=interval,
        )

    def start(self) -> None:
        """Poll once, then start the thread that polls."""
        with suppress(Exception):  # the thread polls again soon, and logs what fails
            self.poll()
        self._thread.start()

    def close(self) -> None:
        """Stop the thread, waiting at most five seconds for a poll in progress."""
        self._thread.close()

    def of(self, manifest: Manifest) -> Mapping[str, PointInForce]:
        """Return name -> point for one model and version, from memory."""
        snapshot = self._snapshot
        key = (manifest.name, manifest.version)
        merged_with, points = snapshot.merged.get(key, (None, {}))
        if merged_with is not manifest:  # the first lookup, or another bundle of this version came into service
            bundle = {
                name: PointInForce(point.alpha, point.chosen_by, "bundle", None)
                for name, point in manifest.operating_points.items()
            }
            stored = {
                name: PointInForce(point.alpha, point.chosen_by, "stored", point.since)
                for name, point in snapshot.stored_for(manifest).items()
            }
            points = {**bundle, **stored, FIXED: bundle[FIXED]}
            snapshot.merged[key] = manifest, points
        return points

    def get(self, manifest: Manifest, name: str) -> PointInForce:
        """Return one point.

        Raises:
            UnknownOperatingPointError: there is no such point; the message lists those there are.

        """
        points = self.of(manifest)
        if name not in points:
            raise UnknownOperatingPointError(
                f"{manifest.name} has no operating point {name[:64]!r}; there are: {', '.join(points)}"
            )
        return points[name]

    def check_name(self, manifest: Manifest, name: str) -> None:
        """Refuse a name under which no alpha can be stored.

        Raises:
            OperatingPointNameError, OperatingPointFixedError, TooManyOperatingPointsError.

        """
        if not NAME_PATTERN.fullmatch(name) or is_number(name):
            raise OperatingPointNameError(
                f"{name[:64]!r} cannot be the name of an operating point; use 1 to 64 of a-z 0-9 . _ -, beginning "
                "with a letter or digit, and not a number, which would mean an alpha"
            )
        if name == FIXED:
            raise OperatingPointFixedError(f"{FIXED} is always the plain classifier, alpha 0; use another name")
        stored = self._snapshot.stored_for(manifest)
        if name not in stored and len(stored) >= point_changes.MAX_POINTS:
            raise TooManyOperatingPointsError(f"{manifest.name} has {len(stored)} stored points; remove one first")

    async def set(
        self, manifest: Manifest, name: str, alpha: float, *, chosen_by: str, who: str, why: str
    ) -> PointInForce:
        """Store a point, and return it once it is in force in this and every other healthy process.

        Raises:
            OperatingPointNameError, OperatingPointFixedError, TooManyOperatingPointsError: as `check_name`.
            StorageUnavailableError: the database is unavailable.

        """
        self.check_name(manifest, name)
        change = {"alpha": alpha, "chosen_by": chosen_by, "who": who, "why": why}
        await self._change(lambda connection: self._write(connection, manifest, name, change))
        return self.get(manifest, name)

    async def remove(self, manifest: Manifest, name: str, *, who: str, why: str) -> PointInForce | None:
        """Remove a stored point, and return the bundle's point of that name, or None if there is none.

        Raises:
            OperatingPointFixedError: the point is the bundle's and nothing is stored under its name.
            UnknownOperatingPointError: there is no such point.
            StorageUnavailableError: the database is unavailable.

        """
        self.get(manifest, name)

        def write(connection: Connection) -> StoredPoints:
            point_changes.wait_for_writers(connection)
            if point_changes.stored_alpha(connection, manifest, name) is None:
                if name in manifest.operating_points:
                    raise OperatingPointFixedError(
                        f"{name} is a point of the bundle and cannot be removed; PUT another alpha to override it"
                    )
                raise UnknownOperatingPointError(f"{manifest.name} no longer has a stored operating point {name!r}")
            return self._write(connection, manifest, name, {"alpha": None, "chosen_by": "", "who": who, "why": why})

        await self._change(write)
        return self.of(manifest).get(name)

    async def history(self, manifest: Manifest, name: str) -> list[Change]:
        """Return the kept changes of a point, newest first; none for a name that no point can have.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """
        if not NAME_PATTERN.fullmatch(name):  # PostgreSQL refuses a query with some characters, such as NUL
            return []
        return await self._database.run(lambda connection: point_changes.read_history(connection, manifest, name))

    def poll(self) -> None:
        """Ask the database for changes, and put them in force.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """
        changes_made = self._changes_made
        if (self._database.number(point_changes.NEWEST_ID) or 0) == self._snapshot.stored.newest_id:
            return
        stored = self._database.run_sync(point_changes.read_stored)
        with self._lock:
            if changes_made == self._changes_made:  # otherwise this process's own change may be newer
                self._snapshot = _Snapshot(stored)

    async def _change(self, write: Callable[[Connection], StoredPoints]) -> None:
        stored = await self._database.run(write)
        with self._lock:
            self._changes_made += 1
            if stored.newest_id > self._snapshot.stored.newest_id:
                self._snapshot = _Snapshot(stored)
        await asyncio.sleep(self.spread_seconds)

    def _write(self, connection: Connection, manifest: Manifest, name: str, change: dict[str, Any]) -> StoredPoints:
        """Insert one change, and return the points that are stored then."""
        point_changes.wait_for_writers(connection)
        point_changes.insert_change(connection, manifest, name, change, time=self._clock())
        return point_changes.read_stored(connection)

    def _poll_step(self) -> float:
        """Poll, and return the seconds until the next poll. The database logs its own failures."""
        try:
            self.poll()
        except StorageUnavailableError:
            return max(self._interval, RETRY_SECONDS)
        return self._interval
