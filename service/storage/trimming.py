"""A table that keeps the newest N rows of each model and version, at a cost that does not grow with the table.

Counting the rows on every insert would cost N index steps each time. Instead each process counts what it inserted
itself, and looks for the cut only after every N/10 rows: ten index steps per row, and the table holds at most N/10 rows
too many per process. A model that this process has not trimmed yet is looked at first, so restarts do not add up.
"""

from collections import Counter

from sqlalchemy import Connection, Table, and_, delete, or_, select

__all__ = ["Trimmer"]

_SHARE = 10


class Trimmer:
    """Trims one table with the columns `model`, `version` and `time`.

    Args:
        table: the table.
        key: the name of its primary key, which tells rows of equal time apart.
        keep: N.
    """

    def __init__(self, table: Table, key: str, keep: int) -> None:
        self._table, self._key, self._keep = table, table.c[key], keep
        self._inserted: Counter[tuple[str, int]] = Counter()
        self._trimmed: set[tuple[str, int]] = set()

    def count(self, model: str, version: int, rows: int = 1) -> None:
        """Take note of rows that were inserted."""
        self._inserted[model, version] += rows

    @property
    def due(self) -> list[tuple[str, int]]:
        """The models and versions that may have grown too far."""
        allowed = self._keep // _SHARE
        return [
            which
            for which, rows in list(self._inserted.items())
            if rows and (rows > allowed or which not in self._trimmed)
        ]

    def trim(self, connection: Connection, model: str, version: int) -> None:
        """Delete the rows of one model and version beyond the newest N."""
        columns = self._table.c
        mine = and_(columns.model == model, columns.version == version)
        newest_first = columns.time.desc(), self._key.desc()
        beyond = select(columns.time, self._key).where(mine).order_by(*newest_first).offset(self._keep).limit(1)
        first = connection.execute(beyond).one_or_none()
        if first is not None:
            time, key = first
            older = or_(columns.time < time, and_(columns.time == time, self._key <= key))
            connection.execute(delete(self._table).where(mine, older))
        self._inserted[model, version] = 0
        self._trimmed.add((model, version))
