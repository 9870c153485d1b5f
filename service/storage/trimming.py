"""Keeps the newest N rows of each model and version in a table, at a cost that does not grow with the table.

Counting the rows on every insert would take N index steps each time. Instead each process counts the rows it inserted
itself, and looks for the N-th newest row only after every N/10 rows. That costs ten index steps per row, and the table
holds at most N/10 rows too many per process. A process trims a model for the first time after its first insert, so that
restarts do not add up.

Rows are deleted a few thousand at a time, so that other writers do not wait long for the lock.
"""

from collections import Counter

from sqlalchemy import Table, and_, delete, or_, select

from service.storage.database import Database

__all__ = ["Trimmer"]

_CHECKS_PER_KEEP = 10  # N / 10 rows between two checks
_ROWS_PER_DELETE = 5000


class Trimmer:
    """Deletes old rows of one table, which has the columns `model`, `version` and `time`.

    Args:
        table: the table.
        key: the name of its primary key, which orders rows of equal time.
        keep: the number of rows to keep of each model and version, N.

    """

    def __init__(self, table: Table, key: str, keep: int) -> None:
        self._table = table
        self._key = table.c[key]
        self._keep = keep
        self._inserted: Counter[tuple[str, int]] = Counter()
        self._trimmed: set[tuple[str, int]] = set()

    def count(self, model: str, version: int, rows: int = 1) -> None:
        """Count rows that were inserted."""
        self._inserted[model, version] += rows

    def trim(self, database: Database) -> None:
        """Delete the rows beyond the newest N of each model and version that may have too many.

        Raises:
            StorageUnavailableError: the database is unavailable.

        """
        for version, rows in list(self._inserted.items()):
            if rows > self._keep // _CHECKS_PER_KEEP or (rows and version not in self._trimmed):
                self._trim(database, *version)
                self._inserted[version] -= rows
                self._trimmed.add(version)

    def _trim(self, database: Database, model: str, version: int) -> None:
        columns = self._table.c
        of_version = and_(columns.model == model, columns.version == version)
        newest_first = columns.time.desc(), self._key.desc()
        after_kept = select(columns.time, self._key).where(of_version).order_by(*newest_first).offset(self._keep)
        newest_to_delete = database.run_sync(lambda connection: connection.execute(after_kept.limit(1)).one_or_none())
        if newest_to_delete is None:
            return
        time, key = newest_to_delete
        older = or_(columns.time < time, and_(columns.time == time, self._key <= key))
        batch = select(self._key).where(of_version, columns.time <= time, older).limit(_ROWS_PER_DELETE)
        deletion = delete(self._table).where(self._key.in_(batch))
        while database.run_sync(lambda connection: connection.execute(deletion).rowcount) == _ROWS_PER_DELETE:
            pass
