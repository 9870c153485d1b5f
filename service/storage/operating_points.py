"""Which alpha a name means: the bundle's operating points, overlaid by those set since, shared by all processes.

A request looks a name up in memory. A thread asks the database ten times a second whether anything has changed, so that
a change made anywhere is in force everywhere soon; who makes a change is answered once that is so. While the
database is away the points known last stay in force. Every change is kept as a row (who, when, why, from what).
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, select, text

from models.manifest import NAME_PATTERN, Manifest
from models.strict_json import is_number
from service.errors import (
    OperatingPointFixedError,
    OperatingPointNameError,
    StorageUnavailableError,
    TooManyOperatingPointsError,
    UnknownOperatingPointError,
)
from service.storage.database import Database
from service.storage.tables import operating_point_changes

__all__ = ["DEFAULT_ALPHA", "Change", "OperatingPoints", "PointInForce", "remove_all"]

log = logging.getLogger("longtail.points")
POLL_SECONDS = 0.1
AWAY_SECONDS = 1.0  # between two looks while the database is away
SPREAD_SECONDS = 0.3  # by then every healthy process has looked: one interval, and a query that takes its time
CLOSE_SECONDS = 5.0
KEPT_CHANGES = 1000  # of each point
MAX_POINTS = 100  # of one model and version, beside the bundle's; of removed ones so many keep their history
DEFAULT_ALPHA = "balanced"  # the operating point used when a request names no alpha
FIXED = "head"  # the plain classifier, whatever happens
_LOCK = 0x10461A12  # PostgreSQL's advisory lock of whoever writes: ids are then given in the order of the commits
_NEWEST = "SELECT max(id) FROM operating_point_changes"
_columns = operating_point_changes.c
Key = tuple[str, int]  # model, version


class PointInForce(NamedTuple):
    """What a name means now; `since` is in seconds since 1970, None for the bundle's own."""

    alpha: float
    chosen_by: str
    source: Literal["bundle", "stored"]
    since: float | None


class Change(NamedTuple):
    """One change of a point: alpha None where it was removed, from_alpha None where there was none before."""

    alpha: float | None
    chosen_by: str
    who: str
    why: str
    from_alpha: float | None
    time: float


@dataclass(frozen=True)
class _State:
    """What the database held at one moment."""

    newest: int = 0
    stored: Mapping[Key, Mapping[str, PointInForce]] = field(default_factory=dict)
    merged: dict[Key, tuple[Manifest, Mapping[str, PointInForce]]] = field(default_factory=dict)  # filled as asked for


class OperatingPoints:
    """The operating points in force.

    Args:
        database: where changes are kept.
        interval: seconds between two looks at it.
        clock: seconds since 1970.

    Attributes:
        spread_seconds: how long a change is given to be in force in every other process.

    """

    def __init__(
        self, database: Database, *, interval: float = POLL_SECONDS, clock: Callable[[], float] = time.time
    ) -> None:
        self.spread_seconds = SPREAD_SECONDS
        self._database = database
        self._interval = interval
        self._clock = clock
        self._state = _State()
        self._applied = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="operating-points", daemon=True)

    def start(self) -> None:
        """Look once, then go on looking in a thread."""
        self._look()
        self._thread.start()

    def close(self) -> None:
        """End the thread; a database that hangs is not waited for."""
        self._closing.set()
        self._thread.join(CLOSE_SECONDS)

    def of(self, manifest: Manifest) -> Mapping[str, PointInForce]:
        """Return name -> point for one model and version; a lookup in memory."""
        state = self._state
        key = (manifest.name, manifest.version)
        of, points = state.merged.get(key, (None, {}))
        if of is not manifest:  # nobody asked yet, or a bundle was exchanged for another of that version
            bundle = {
                n: PointInForce(p.alpha, p.chosen_by, "bundle", None) for n, p in manifest.operating_points.items()
            }
            points = {**bundle, **state.stored.get(key, {}), FIXED: bundle[FIXED]}
            state.merged[key] = manifest, points
        return points

    def get(self, manifest: Manifest, name: str) -> PointInForce:
        """Return one point.

        Raises:
            UnknownOperatingPointError: there is none of that name; the sentence lists those there are.

        """
        points = self.of(manifest)
        if name not in points:
            raise UnknownOperatingPointError(
                f"{manifest.name} has no operating point {name[:64]!r}; there are: {', '.join(points)}"
            )
        return points[name]

    def check_name(self, manifest: Manifest, name: str) -> None:
        """Refuse a name that no alpha can be stored under.

        Raises:
            OperatingPointNameError, OperatingPointFixedError, TooManyOperatingPointsError.

        """
        if not NAME_PATTERN.fullmatch(name) or is_number(name):
            raise OperatingPointNameError(
                f"{name[:64]!r} cannot name an operating point; 1 to 64 of a-z 0-9 . _ - can, beginning with a letter "
                "or digit, and not a number, which would be an alpha"
            )
        if name == FIXED:
            raise OperatingPointFixedError(f"{FIXED} is the plain classifier, alpha 0; give the point another name")
        stored = self._state.stored.get((manifest.name, manifest.version), {})
        if name not in stored and len(stored) >= MAX_POINTS:
            raise TooManyOperatingPointsError(f"{manifest.name} has {len(stored)} stored points; remove one first")

    async def set(
        self, manifest: Manifest, name: str, alpha: float, *, chosen_by: str, who: str, why: str
    ) -> PointInForce:
        """Store what a name means, and return it once it is in force, here and in every other healthy process.

        Raises:
            OperatingPointNameError, OperatingPointFixedError, TooManyOperatingPointsError: as `check_name`.
            StorageUnavailableError: the database is away.

        """
        self.check_name(manifest, name)
        change = {"alpha": alpha, "chosen_by": chosen_by, "who": who, "why": why}
        await self._change(lambda connection: self._write(connection, manifest, name, change))
        return self.get(manifest, name)

    async def remove(self, manifest: Manifest, name: str, *, who: str, why: str) -> PointInForce | None:
        """Take back what was stored under a name; return what it means then: the bundle's point, or nothing.

        Raises:
            OperatingPointFixedError: the bundle alone has it.
            UnknownOperatingPointError: there is none of that name.
            StorageUnavailableError: the database is away.

        """
        self.get(manifest, name)

        def write(connection: Connection) -> _State:
            _one_writer(connection)
            if _stored_alpha(connection, manifest, name) is None:
                if name in manifest.operating_points:
                    raise OperatingPointFixedError(
                        f"{name} is the bundle's own point and cannot be removed; PUT another alpha to override it"
                    )
                raise UnknownOperatingPointError(f"{manifest.name} has no stored operating point {name!r} any more")
            return self._write(connection, manifest, name, {"alpha": None, "chosen_by": "", "who": who, "why": why})

        await self._change(write)
        return self.of(manifest).get(name)

    async def history(self, manifest: Manifest, name: str) -> list[Change]:
        """Return the changes of a point that are kept, newest first; none of a name that no point can have.

        Raises:
            StorageUnavailableError: the database is away.

        """
        if not NAME_PATTERN.fullmatch(name):  # PostgreSQL cannot even be asked for some
            return []
        query = (
            select(*(_columns[each] for each in Change._fields)).where(_is(manifest, name)).order_by(_columns.id.desc())
        )
        return await self._database.run(lambda connection: [Change(*row) for row in connection.execute(query)])

    def poll(self) -> None:
        """Look whether anything has changed, and put it in force.

        Raises:
            StorageUnavailableError: the database is away.

        """
        applied = self._applied
        if (self._database.number(_NEWEST) or 0) == self._state.newest:
            return
        state = self._database.run_sync(_read)
        with self._lock:
            if applied == self._applied:  # else this process has made a change since; the next look will tell
                self._state = state

    async def _change(self, write: Callable[[Connection], _State]) -> None:
        state = await self._database.run(write)
        with self._lock:
            self._applied += 1
            if state.newest > self._state.newest:
                self._state = state
        await asyncio.sleep(self.spread_seconds)

    def _write(self, connection: Connection, manifest: Manifest, name: str, change: dict[str, Any]) -> _State:
        """Add one row, delete those beyond what is kept, and return the state with it."""
        _one_writer(connection)
        before = _stored_alpha(connection, manifest, name)
        if before is None and name in manifest.operating_points:
            before = manifest.operating_points[name].alpha
        where = {"model": manifest.name, "version": manifest.version, "name": name}
        row = where | change | {"from_alpha": before, "time": self._clock()}
        connection.execute(operating_point_changes.insert(), row)
        _prune(connection, manifest, name)
        return _read(connection)

    def _serve(self) -> None:
        wait = self._interval
        while not self._closing.wait(wait):
            wait = self._interval if self._look() else max(self._interval, AWAY_SECONDS)

    def _look(self) -> bool:
        """Poll, and return whether that worked; the database itself logs when it fails."""
        try:
            self.poll()
        except StorageUnavailableError:
            return False
        except Exception:
            log.exception("operating points cannot be read; those known last stay in force")
            return False
        return True


def remove_all(connection: Connection, model: str, version: int, *, who: str, why: str, time: float) -> list[str]:
    """Take back whatever is stored of a model and version, and return the names; their history stays."""
    _one_writer(connection)
    stored = _read(connection).stored.get((model, version), {})
    change = {"model": model, "version": version, "alpha": None, "chosen_by": "", "who": who, "why": why, "time": time}
    for name, point in stored.items():
        connection.execute(operating_point_changes.insert(), change | {"name": name, "from_alpha": point.alpha})
    return list(stored)


def _is(manifest: Manifest, name: str) -> ColumnElement[bool]:
    return (_columns.model == manifest.name) & (_columns.version == manifest.version) & (_columns.name == name)


def _one_writer(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite has only one anyway
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def _stored_alpha(connection: Connection, manifest: Manifest, name: str) -> float | None:
    newest = select(_columns.alpha).where(_is(manifest, name)).order_by(_columns.id.desc()).limit(1)
    alpha: float | None = connection.scalar(newest)
    return alpha


def _read(connection: Connection) -> _State:
    """Return what is stored."""
    newest = connection.exec_driver_sql(_NEWEST).scalar() or 0
    last = select(func.max(_columns.id)).group_by(_columns.model, _columns.version, _columns.name)
    stored: dict[Key, dict[str, PointInForce]] = {}
    query = select(operating_point_changes).where(_columns.id.in_(last), _columns.alpha.is_not(None))
    for row in connection.execute(query.order_by(_columns.name)):
        point = PointInForce(row.alpha, row.chosen_by, "stored", row.time)
        stored.setdefault((row.model, row.version), {})[row.name] = point
    return _State(newest, stored)


def _prune(connection: Connection, manifest: Manifest, name: str) -> None:
    """Delete a point's oldest changes, and the history of names that were removed long ago."""
    beyond = select(_columns.id).where(_is(manifest, name)).order_by(_columns.id.desc()).offset(KEPT_CHANGES).limit(1)
    if (last := connection.scalar(beyond)) is not None:
        connection.execute(delete(operating_point_changes).where(_is(manifest, name), _columns.id <= last))
    mine = (_columns.model == manifest.name) & (_columns.version == manifest.version)
    newest = select(func.max(_columns.id)).where(mine).group_by(_columns.name)
    removed = select(_columns.name).where(_columns.id.in_(newest), _columns.alpha.is_(None))
    for old in connection.scalars(removed.order_by(_columns.id.desc()).offset(MAX_POINTS)).all():
        connection.execute(delete(operating_point_changes).where(_is(manifest, old)))
