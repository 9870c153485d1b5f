"""The tables that the code reads and writes.

A new database is created with these tables, and `migrations/` brings an older database to the same state; a test checks
that both agree. Times are in seconds since 1970. A version is a model's version.
"""

from sqlalchemy import BigInteger, Boolean, Column, Double, Index, Integer, LargeBinary, MetaData, Table, Text

__all__ = ["feedback", "jobs", "kept_chunks", "metadata", "networks", "operating_point_changes"]

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    }
)

# The network's output for recent pictures, kept for a limited time so that a label can be used. A row is a chunk of N
# results that one process wrote together, see service/feedback/result_chunks.py. Packed numbers are little-endian.
kept_chunks = Table(
    "kept_chunks",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("first_time", Double, nullable=False),  # of the earliest id
    Column("last_time", Double, nullable=False),  # of the latest id
    Column("images", Integer, nullable=False),  # N
    Column("ids", LargeBinary, nullable=False),  # (N, 16) bytes
    Column("alpha", LargeBinary, nullable=False),  # (N,) float64, the first alpha of the request
    Column("predicted", LargeBinary, nullable=False),  # (N,) int32, the top class there
    Column("plain", LargeBinary, nullable=False),  # (N,) int32, the top class at alpha 0
    Column("head_cosine", LargeBinary, nullable=False),  # (N, K) float32
    Column("logits", LargeBinary, nullable=False),  # (N, C) float32; last, so that reading the other columns skips it
    Index(None, "model", "version", "first_time", "last_time", "images"),  # all columns that trimming reads
    Index(None, "last_time", "first_time"),
)

# A label for a result, and the interval of alpha on which that class has the highest score. Both ends are NULL if the
# interval is empty, and ±inf if it is unbounded.
feedback = Table(
    "feedback",
    metadata,
    Column("result_id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("label", Integer, nullable=False),
    Column("low", Double),
    Column("high", Double),
    Column("time", Double, nullable=False),
    Index(None, "model", "version", "time"),
)

# The changes of operating points. Rows are added and never changed; the newest row of a name is the stored point.
operating_point_changes = Table(
    "operating_point_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("alpha", Double),  # NULL: the stored point was removed
    Column("chosen_by", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("from_alpha", Double),  # the alpha in force before; NULL: there was no such point
    Column("time", Double, nullable=False),
    Index(None, "model", "version", "name", "id"),
    sqlite_autoincrement=True,  # an id is never used again
)

# The network that a name and a version stand for, see service/catalog/networks.py.
networks = Table(
    "networks",
    metadata,
    Column("model", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("sha256", Text, nullable=False),
)

# Jobs: work that takes longer than a request.
jobs = Table(
    "jobs",
    metadata,
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("done", Integer, nullable=False),
    Column("total", Integer, nullable=False),
    Column("result", Text),  # JSON
    Column("error", Text),  # JSON
    Column("created", Double, nullable=False),
    Column("updated", Double, nullable=False),
    Column("finished", Double),
    Column("cancel_requested", Boolean, nullable=False),
)
