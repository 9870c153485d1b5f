"""Kept results as the database has them: in chunks, so that a picture costs a small part of a row.

What a process writes at one time becomes one row for each model and version, with a column of packed numbers for each
field. A result is found by its id alone: the id tells its time, an index tells which few chunks hold that time, and
only the one whose ids have it is read whole. All of a chunk is of one second of the clock, which bounds that search,
and what is read for one label is bounded by CHUNK_BYTES.

Shapes: N results of a chunk, C classes, K heads.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, bindparam, case, delete, func, select

from service.result_ids import time_of
from service.storage.database import Database
from service.storage.tables import kept_chunks
from service.storage.trimming import Trimmer

__all__ = [
    "ChunkTrimmer", "KeptResult", "count_predictions", "find", "found_among", "oldest_of_full", "pack", "read_numbers",
]  # fmt: skip

T = TypeVar("T")
SECOND = 1000  # milliseconds, of which the ids are; chunks end where one ends
CHUNK_BYTES = 2**17  # of logits and head cosine
ID_BYTES = 16
CHUNKS_AT_A_TIME = 32  # chunks that are read whole with one query
Float = NDArray[np.floating[Any]]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
_columns = kept_chunks.c
_ids_near = select(_columns.id, _columns.first_time, _columns.last_time, _columns.ids).where(
    _columns.last_time >= bindparam("first"),
    _columns.last_time < bindparam("last") + 1,  # a chunk is of one second
    _columns.first_time <= bindparam("last"),
)
_whole = select(kept_chunks).where(_columns.id.in_(bindparam("chunks", expanding=True)))


class KeptResult(NamedTuple):
    """One classified picture: (C,) logits at alpha 0 and (K,) head cosine, the first alpha asked for and who won."""

    id: str
    model: str
    version: int
    alpha: float
    predicted: int
    plain: int
    logits: Float
    head_cosine: Float

    @property
    def size(self) -> int:
        """Bytes of its numbers."""
        return self.logits.nbytes + self.head_cosine.nbytes


class ChunkTrimmer(Trimmer):
    """Deletes whole chunks, once all of their results are older than the newest N."""

    def __init__(self, keep: int) -> None:
        super().__init__(kept_chunks, "id", keep)

    def _trim(self, database: Database, model: str, version: int) -> None:
        mine = (_columns.model == model) & (_columns.version == version)
        held = func.sum(_columns.images).over(order_by=_columns.first_time.desc()).label("held")
        newer = select(_columns.first_time, held).where(mine).subquery()
        cut = select(func.max(newer.c.first_time)).where(newer.c.held >= self._keep)
        deletion = delete(kept_chunks).where(mine, _columns.last_time < cut.scalar_subquery())
        database.run_sync(lambda connection: connection.execute(deletion))


def pack(results: Sequence[KeptResult]) -> list[dict[str, Any]]:
    """Return results as rows of the table."""
    alike: dict[tuple[str, int, int, int, int], list[KeptResult]] = {}
    for each in results:
        second = int(each.id[:12], 16) // SECOND
        key = each.model, each.version, second, len(each.logits), len(each.head_cosine)
        alike.setdefault(key, []).append(each)
    rows = []
    for (*_, classes, heads), mine in alike.items():
        fitting = max(1, CHUNK_BYTES // (4 * (classes + heads) or 1))
        rows += [_packed(part) for part in _parts(mine, fitting)]
    return rows


def find(connection: Connection, ids: Collection[str]) -> dict[str, KeptResult]:
    """Return those of the results that are in the database; the ids have the form of one."""
    found = {}
    places = _places(connection, ids)
    for part in _parts(list(places), CHUNKS_AT_A_TIME):
        for row in connection.execute(_whole, {"chunks": part}):
            found.update({result_id: _unpacked(row, result_id, at) for result_id, at in places[row.id].items()})
    return found


def found_among(connection: Connection, ids: Collection[str]) -> set[str]:
    """Return those of the ids that are in the database, and read no more than ids."""
    return {result_id for there in _places(connection, ids).values() for result_id in there}


def oldest_of_full(connection: Connection, keep: int) -> list[float]:
    """Return, of each model and version that holds as many as are kept, a time before which results may be gone.

    Whatever trimming deletes is older than every chunk that stays is at its end.
    """
    held = select(func.sum(_columns.images), func.min(_columns.last_time)).group_by(_columns.model, _columns.version)
    return [float(oldest) for images, oldest in connection.execute(held) if images >= keep]


def read_numbers(connection: Connection, model: str, version: int, since: float) -> tuple[Float32, Float32]:
    """Return the (N, C) logits and (N, K) head cosine of results since a time, oldest first."""
    query = select(_columns.ids, _columns.head_cosine, _columns.logits).where(*_of(model, version, since))
    rows = connection.execute(query.order_by(_columns.first_time, _columns.id)).all()
    if not rows:
        return np.empty((0, 0), np.float32), np.empty((0, 0), np.float32)
    ids, head_cosine, logits = (b"".join(parts) for parts in zip(*rows, strict=True))
    first, second = np.frombuffer(ids, ">u8").reshape(-1, 2).T
    order = np.lexsort((second, first))
    order = order[_times(ids)[order] >= since]
    images = len(ids) // ID_BYTES
    tables = (np.frombuffer(part, "<f4").reshape(images, -1)[order] for part in (logits, head_cosine))
    return next(tables), next(tables)


def count_predictions(connection: Connection, model: str, version: int, since: float) -> NDArray[np.int64]:
    """Return (M, 3) what results since a time were taken for: `predicted`, `plain`, how many. No logits are read."""
    ids_where_needed = case((_columns.first_time < since, _columns.ids))
    query = select(ids_where_needed, _columns.predicted, _columns.plain).where(*_of(model, version, since))
    rows = connection.execute(query).all()
    pairs = [_pairs(*(b"".join(row[i] for row in rows if row[0] is None) for i in (1, 2)))]
    pairs += [_pairs(*row[1:])[_times(row[0]) >= since] for row in rows if row[0] is not None]
    different, images = np.unique(np.concatenate(pairs), return_counts=True)
    return np.stack([different >> 32, different & 0xFFFFFFFF, images], axis=1)


def _packed(results: Sequence[KeptResult]) -> dict[str, Any]:
    """Return one row: results of one model, version, second and shape."""
    ids, models, versions, alpha, predicted, plain, logits, head_cosine = zip(*results, strict=True)
    return {
        "model": models[0],
        "version": versions[0],
        "first_time": time_of(min(ids)),
        "last_time": time_of(max(ids)),
        "images": len(ids),
        "ids": bytes.fromhex("".join(ids)),
        "alpha": np.array(alpha, "<f8").tobytes(),
        "predicted": np.array(predicted, "<i4").tobytes(),
        "plain": np.array(plain, "<i4").tobytes(),
        "head_cosine": np.concatenate(head_cosine, dtype="<f4", casting="same_kind").tobytes(),
        "logits": np.concatenate(logits, dtype="<f4", casting="same_kind").tobytes(),
    }


def _unpacked(row: Row[Any], result_id: str, at: int) -> KeptResult:
    """Return one result of a row; its numbers are copied, or each would hold on to all of the row's."""
    alpha, predicted, plain = (
        np.frombuffer(part, kind)[at].item()
        for part, kind in ((row.alpha, "<f8"), (row.predicted, "<i4"), (row.plain, "<i4"))
    )
    logits, head_cosine = (
        np.frombuffer(part, "<f4").reshape(row.images, -1)[at].copy() for part in (row.logits, row.head_cosine)
    )
    return KeptResult(result_id, row.model, row.version, alpha, predicted, plain, logits, head_cosine)


def _places(connection: Connection, ids: Collection[str]) -> dict[int, dict[str, int]]:
    """Return where results are: chunk -> id of a result -> its place there."""
    ordered = sorted(ids)  # as their times are
    times = [time_of(each) for each in ordered]
    places: dict[int, dict[str, int]] = {}
    if not ordered:
        return places
    for chunk, first, last, there in connection.execute(_ids_near, {"first": times[0], "last": times[-1]}):
        perhaps = ordered[bisect_left(times, first) : bisect_right(times, last)]
        if found := {each: at for each in perhaps if (at := _place(there, bytes.fromhex(each))) is not None}:
            places[chunk] = found
    return places


def _place(ids: bytes, wanted: bytes) -> int | None:
    """Return the place of an id among packed ones."""
    at = ids.find(wanted)
    while at % ID_BYTES and at >= 0:  # by chance across two ids
        at = ids.find(wanted, at + 1)
    return at // ID_BYTES if at >= 0 else None


def _of(model: str, version: int, since: float) -> tuple[ColumnElement[bool], ...]:
    return _columns.model == model, _columns.version == version, _columns.last_time >= since


def _times(ids: bytes) -> Float64:
    """(N, 16) bytes of ids -> (N,) seconds since 1970, the very numbers that `time_of` gives."""
    milliseconds: Float64 = (np.frombuffer(ids, ">u8")[::2] >> 16) / 1000
    return milliseconds


def _pairs(predicted: bytes, plain: bytes) -> NDArray[np.int64]:
    """Two columns of classes -> one number for each pair."""
    high, low = (np.frombuffer(part, "<i4").astype(np.int64) for part in (predicted, plain))
    return high << 32 | low


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
