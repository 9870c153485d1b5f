"""A table that keeps the newest N rows of each model and version, at a cost that does not grow with the table.

Counting the rows on every insert would cost N index steps each time. Instead each process counts what it inserted
itself, and looks for the cut only after every N/10 rows: ten index steps per row, and the table holds at most N/10 rows
too many per process. A model that this process has not trimmed yet is looked at first, so restarts do not add up.

Rows go a few thousand at a time, so nobody waits long for the lock of a writer.
"""

from collections import Counter

from sqlalchemy import Table, and_, delete, or_, select

from service.storage.database import Database

__all__ = ["Trimmer"]

_SHARE = 10
_ROWS_AT_A_TIME = 5000


class Trimmer:
    """Trims one table with the columns `model`, `version` and `time`.

    Args:
        table: the table.
        key: the name of its primary key, which tells rows of equal time apart.
        keep: N.

    """

    def __init__(self, table: Table, key: str, keep: int) -> None:
        self._table = table
        self._key = table.c[key]
        self._keep = keep
        self._inserted: Counter[tuple[str, int]] = Counter()
        self._trimmed: set[tuple[str, int]] = set()

    def count(self, model: str, version: int, rows: int = 1) -> None:
        """Take note of rows that were inserted."""
        self._inserted[model, version] += rows

    def trim(self, database: Database) -> None:
        """Delete the rows beyond the newest N, of the models and versions that may have grown too far.

        Raises:
            StorageUnavailableError: the database is away.

        """
        for which, rows in list(self._inserted.items()):
            if rows > self._keep // _SHARE or (rows and which not in self._trimmed):
                self._trim(database, *which)
                self._inserted[which] -= rows
                self._trimmed.add(which)

    def _trim(self, database: Database, model: str, version: int) -> None:
        columns = self._table.c
        mine = and_(columns.model == model, columns.version == version)
        newest_first = columns.time.desc(), self._key.desc()
        beyond = select(columns.time, self._key).where(mine).order_by(*newest_first).offset(self._keep).limit(1)
        first = database.run_sync(lambda connection: connection.execute(beyond).one_or_none())
        if first is None:
            return
        time, key = first
        older = or_(columns.time < time, and_(columns.time == time, self._key <= key))
        some = select(self._key).where(mine, columns.time <= time, older).limit(_ROWS_AT_A_TIME)
        deletion = delete(self._table).where(self._key.in_(some))
        while database.run_sync(lambda connection: connection.execute(deletion).rowcount) == _ROWS_AT_A_TIME:
            pass
