"""The table of operating point changes: one row for each change, the newest row of a name is the stored point.

Every function runs in a transaction of its caller.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, select, text

from models.manifest import Manifest
from service.storage.tables import operating_point_changes

__all__ = [
    "MAX_POINTS", "NEWEST_ID", "Change", "StoredPoint", "StoredPoints", "insert_change", "read_history", "read_stored",
    "remove_all", "stored_alpha", "wait_for_writers",
]  # fmt: skip

MAX_CHANGES = 1000  # kept of each point
MAX_POINTS = 100  # stored for one model and version; also the number of removed points that keep their history
NEWEST_ID = "SELECT max(id) FROM operating_point_changes"
_LOCK = 0x10461A12  # PostgreSQL's advisory lock for writers, so that ids are in the order of the commits
_columns = operating_point_changes.c


class Change(NamedTuple):
    """One change of a point: alpha is None if it was removed, from_alpha None if there was no such point before."""

    alpha: float | None
    chosen_by: str
    who: str
    why: str
    from_alpha: float | None
    time: float


class StoredPoint(NamedTuple):
    """A point as it was stored last; `since` is in seconds since 1970."""

    alpha: float
    chosen_by: str
    since: float


class StoredPoints(NamedTuple):
    """All stored points at one moment.

    Attributes:
        newest_id: the id of the newest change.
        points: model and version -> name -> point.

    """

    newest_id: int
    points: Mapping[tuple[str, int], Mapping[str, StoredPoint]]


def wait_for_writers(connection: Connection) -> None:
    """Wait until no other transaction writes changes, and keep others waiting until this one ends."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time anyway
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def read_stored(connection: Connection) -> StoredPoints:
    """Return the points that are stored now."""
    newest_id = connection.exec_driver_sql(NEWEST_ID).scalar() or 0
    last = select(func.max(_columns.id)).group_by(_columns.model, _columns.version, _columns.name)
    points: dict[tuple[str, int], dict[str, StoredPoint]] = {}
    query = select(operating_point_changes).where(_columns.id.in_(last), _columns.alpha.is_not(None))
    for row in connection.execute(query.order_by(_columns.name)):
        point = StoredPoint(row.alpha, row.chosen_by, row.time)
        points.setdefault((row.model, row.version), {})[row.name] = point
    return StoredPoints(newest_id, points)


def stored_alpha(connection: Connection, manifest: Manifest, name: str) -> float | None:
    """Return the alpha stored under a name, or None."""
    newest = select(_columns.alpha).where(_is_point(manifest, name)).order_by(_columns.id.desc()).limit(1)
    alpha: float | None = connection.scalar(newest)
    return alpha


def read_history(connection: Connection, manifest: Manifest, name: str) -> list[Change]:
    """Return the kept changes of a point, newest first."""
    fields = (_columns[field] for field in Change._fields)
    query = select(*fields).where(_is_point(manifest, name)).order_by(_columns.id.desc())
    return [Change(*row) for row in connection.execute(query)]


def insert_change(
    connection: Connection, manifest: Manifest, name: str, change: Mapping[str, Any], *, time: float
) -> None:
    """Insert one change, and delete the changes beyond those kept.

    Args:
        connection: a transaction that has waited for other writers.
        manifest: the model and version.
        name: the name of the point.
        change: `alpha`, `chosen_by`, `who` and `why`.
        time: seconds since 1970.

    """
    before = stored_alpha(connection, manifest, name)
    if before is None and name in manifest.operating_points:
        before = manifest.operating_points[name].alpha
    point = {"model": manifest.name, "version": manifest.version, "name": name}
    connection.execute(operating_point_changes.insert(), point | {**change, "from_alpha": before, "time": time})
    _prune(connection, manifest, name)


def remove_all(connection: Connection, model: str, version: int, *, who: str, why: str, time: float) -> list[str]:
    """Remove all stored points of a model and version, and return their names. Their history stays."""
    wait_for_writers(connection)
    stored = read_stored(connection).points.get((model, version), {})
    change = {"model": model, "version": version, "alpha": None, "chosen_by": "", "who": who, "why": why, "time": time}
    for name, point in stored.items():
        connection.execute(operating_point_changes.insert(), change | {"name": name, "from_alpha": point.alpha})
    return list(stored)


def _is_point(manifest: Manifest, name: str) -> ColumnElement[bool]:
    return (_columns.model == manifest.name) & (_columns.version == manifest.version) & (_columns.name == name)


def _prune(connection: Connection, manifest: Manifest, name: str) -> None:
    """Delete a point's oldest changes, and the history of points that were removed long ago."""
    newest_first = select(_columns.id).where(_is_point(manifest, name)).order_by(_columns.id.desc())
    if (last := connection.scalar(newest_first.offset(MAX_CHANGES).limit(1))) is not None:
        connection.execute(delete(operating_point_changes).where(_is_point(manifest, name), _columns.id <= last))
    of_version = (_columns.model == manifest.name) & (_columns.version == manifest.version)
    newest = select(func.max(_columns.id)).where(of_version).group_by(_columns.name)
    removed = select(_columns.name).where(_columns.id.in_(newest), _columns.alpha.is_(None))
    for old_name in connection.scalars(removed.order_by(_columns.id.desc()).offset(MAX_POINTS)).all():
        connection.execute(delete(operating_point_changes).where(_is_point(manifest, old_name)))
