"""The kept results in the database. They are stored in chunks, so that a picture costs a small part of a row.

One write of a process becomes one row for each model and version, with a column of packed numbers for each field. A
result is found by its id alone: the id contains its time, an index finds the few chunks that cover that time, and only
the chunk whose ids contain it is read whole. All results of a chunk are from the same second, which bounds the search,
and MAX_CHUNK_BYTES bounds what is read for one label.

Shapes: N results of a chunk, C classes, K heads.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Row, bindparam, case, delete, func, select
from typing_extensions import override

from service.result_ids import time_of
from service.storage.database import Database
from service.storage.tables import kept_chunks
from service.storage.trimming import Trimmer

__all__ = [
    "ChunkTrimmer", "KeptResult", "count_predictions", "find", "find_ids", "oldest_of_full", "pack", "read_outputs",
]  # fmt: skip

T = TypeVar("T")
SECOND = 1000  # in milliseconds, the unit of the times in ids
MAX_CHUNK_BYTES = 2**17  # of logits and head cosine
ID_BYTES = 16
CHUNKS_PER_QUERY = 32
Float = NDArray[np.floating[Any]]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
_columns = kept_chunks.c
_ids_near = select(_columns.id, _columns.first_time, _columns.last_time, _columns.ids).where(
    _columns.last_time >= bindparam("first"),
    _columns.last_time < bindparam("last") + 1,  # a chunk covers at most one second
    _columns.first_time <= bindparam("last"),
)
_whole = select(kept_chunks).where(_columns.id.in_(bindparam("chunks", expanding=True)))


class KeptResult(NamedTuple):
    """The result of one classified picture.

    Attributes:
        id: the result's id, which contains its time.
        model: the model's name.
        version: the model's version.
        alpha: the first alpha of the request.
        predicted: the top class at that alpha.
        plain: the top class at alpha 0.
        logits: (C,) logits at alpha 0.
        head_cosine: (K,) cosines with the head directions.

    """

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
        """The bytes of logits and head cosine."""
        return self.logits.nbytes + self.head_cosine.nbytes


class ChunkTrimmer(Trimmer):
    """Deletes a chunk once all of its results are older than the newest N."""

    def __init__(self, keep: int) -> None:
        super().__init__(kept_chunks, "id", keep)

    @override
    def _trim(self, database: Database, model: str, version: int) -> None:
        of_version = (_columns.model == model) & (_columns.version == version)
        images = func.sum(_columns.images).over(order_by=_columns.first_time.desc()).label("images")
        counted = select(_columns.first_time, images).where(of_version).subquery()
        oldest_to_keep = select(func.max(counted.c.first_time)).where(counted.c.images >= self._keep)
        deletion = delete(kept_chunks).where(of_version, _columns.last_time < oldest_to_keep.scalar_subquery())
        database.run_sync(lambda connection: connection.execute(deletion))


def pack(results: Sequence[KeptResult]) -> list[dict[str, Any]]:
    """Return results as rows of the table, one for each model, version, second and shape."""
    groups: dict[tuple[str, int, int, int, int], list[KeptResult]] = {}
    for result in results:
        second = int(result.id[:12], 16) // SECOND
        key = result.model, result.version, second, len(result.logits), len(result.head_cosine)
        groups.setdefault(key, []).append(result)
    rows = []
    for (*_, classes, heads), group in groups.items():
        max_results = max(1, MAX_CHUNK_BYTES // (4 * (classes + heads) or 1))
        rows += [_pack_row(part) for part in _parts(group, max_results)]
    return rows


def find(connection: Connection, ids: Collection[str]) -> dict[str, KeptResult]:
    """Return the results with these ids that are in the database; each id must have the form of a result's id."""
    found = {}
    positions = _positions(connection, ids)
    for part in _parts(list(positions), CHUNKS_PER_QUERY):
        for row in connection.execute(_whole, {"chunks": part}):
            found.update({result_id: _unpack(row, result_id, at) for result_id, at in positions[row.id].items()})
    return found


def find_ids(connection: Connection, ids: Collection[str]) -> set[str]:
    """Return the ids that are in the database, reading nothing but ids."""
    return {result_id for chunk in _positions(connection, ids).values() for result_id in chunk}


def oldest_of_full(connection: Connection, keep: int) -> list[float]:
    """Return, for each model and version with `keep` or more results, the time before which results may be deleted.

    Trimming deletes only results that are older than the end of every chunk that stays.
    """
    totals = select(func.sum(_columns.images), func.min(_columns.last_time)).group_by(_columns.model, _columns.version)
    return [float(oldest) for images, oldest in connection.execute(totals) if images >= keep]


def read_outputs(connection: Connection, model: str, version: int, since: float) -> tuple[Float32, Float32]:
    """Return the (N, C) logits and (N, K) head cosine of the results since a time, oldest first."""
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
    """Return (M, 3) counts of the predictions since a time: `predicted`, `plain`, number of results."""
    ids_if_needed = case((_columns.first_time < since, _columns.ids))
    query = select(ids_if_needed, _columns.predicted, _columns.plain).where(*_of(model, version, since))
    rows = connection.execute(query).all()
    pairs = [_pairs(*(b"".join(row[i] for row in rows if row[0] is None) for i in (1, 2)))]
    pairs += [_pairs(*row[1:])[_times(row[0]) >= since] for row in rows if row[0] is not None]
    distinct, images = np.unique(np.concatenate(pairs), return_counts=True)
    return np.stack([distinct >> 32, distinct & 0xFFFFFFFF, images], axis=1)


def _pack_row(results: Sequence[KeptResult]) -> dict[str, Any]:
    """Return one row with results of one model, version, second and shape."""
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


def _unpack(row: Row[Any], result_id: str, at: int) -> KeptResult:
    """Return one result of a row, as a copy: a view would keep the whole row in memory."""
    alpha, predicted, plain = (
        np.frombuffer(part, kind)[at].item()
        for part, kind in ((row.alpha, "<f8"), (row.predicted, "<i4"), (row.plain, "<i4"))
    )
    logits, head_cosine = (
        np.frombuffer(part, "<f4").reshape(row.images, -1)[at].copy() for part in (row.logits, row.head_cosine)
    )
    return KeptResult(result_id, row.model, row.version, alpha, predicted, plain, logits, head_cosine)


def _positions(connection: Connection, ids: Collection[str]) -> dict[int, dict[str, int]]:
    """Return where results are stored: chunk -> result id -> position in the chunk."""
    ordered = sorted(ids)  # which is also the order of their times
    times = [time_of(result_id) for result_id in ordered]
    positions: dict[int, dict[str, int]] = {}
    if not ordered:
        return positions
    for chunk, first, last, packed in connection.execute(_ids_near, {"first": times[0], "last": times[-1]}):
        candidates = ordered[bisect_left(times, first) : bisect_right(times, last)]
        found = {result_id: _position(packed, bytes.fromhex(result_id)) for result_id in candidates}
        if in_chunk := {result_id: at for result_id, at in found.items() if at is not None}:
            positions[chunk] = in_chunk
    return positions


def _position(packed_ids: bytes, wanted: bytes) -> int | None:
    """Return the position of an id among packed ids, or None."""
    at = packed_ids.find(wanted)
    while at % ID_BYTES and at >= 0:  # a match across two ids
        at = packed_ids.find(wanted, at + 1)
    return at // ID_BYTES if at >= 0 else None


def _of(model: str, version: int, since: float) -> tuple[ColumnElement[bool], ...]:
    return _columns.model == model, _columns.version == version, _columns.last_time >= since


def _times(ids: bytes) -> Float64:
    """Return (N,) seconds since 1970 for (N, 16) bytes of ids, equal to what `time_of` returns."""
    milliseconds: Float64 = (np.frombuffer(ids, ">u8")[::2] >> 16) / 1000
    return milliseconds


def _pairs(predicted: bytes, plain: bytes) -> NDArray[np.int64]:
    """Return one number for each pair of two packed columns of classes."""
    high, low = (np.frombuffer(part, "<i4").astype(np.int64) for part in (predicted, plain))
    return high << 32 | low


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
