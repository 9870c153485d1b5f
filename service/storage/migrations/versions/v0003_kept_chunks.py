"""Kept results in chunks: one row for each write instead of one for each picture.

The migration deletes the old table with its rows: results are kept for at most an hour, and stored labels stay. So a
label for a picture that was classified before the upgrade is refused (410 or 404). A replica of the previous version
that still runs continues to classify, but it keeps no results and answers feedback with 503 until it is replaced.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Replace kept_results by kept_chunks; the kept results are deleted."""
    op.drop_table("kept_results")
    op.create_table(
        "kept_chunks",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("first_time", sa.Double(), nullable=False),
        sa.Column("last_time", sa.Double(), nullable=False),
        sa.Column("images", sa.Integer(), nullable=False),
        sa.Column("ids", sa.LargeBinary(), nullable=False),
        sa.Column("alpha", sa.LargeBinary(), nullable=False),
        sa.Column("predicted", sa.LargeBinary(), nullable=False),
        sa.Column("plain", sa.LargeBinary(), nullable=False),
        sa.Column("head_cosine", sa.LargeBinary(), nullable=False),
        sa.Column("logits", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kept_chunks")),
    )
    op.create_index(
        op.f("ix_kept_chunks_model_version_first_time_last_time_images"),
        "kept_chunks",
        ["model", "version", "first_time", "last_time", "images"],
    )
    op.create_index(op.f("ix_kept_chunks_last_time_first_time"), "kept_chunks", ["last_time", "first_time"])


def downgrade() -> None:
    """Replace kept_chunks by kept_results; the kept results are deleted."""
    op.drop_table("kept_chunks")
    op.create_table(
        "kept_results",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("time", sa.Double(), nullable=False),
        sa.Column("alpha", sa.Double(), nullable=False),
        sa.Column("predicted", sa.Integer(), nullable=False),
        sa.Column("plain", sa.Integer(), nullable=False),
        sa.Column("logits", sa.LargeBinary(), nullable=False),
        sa.Column("head_cosine", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kept_results")),
    )
    op.create_index(op.f("ix_kept_results_model_version_time"), "kept_results", ["model", "version", "time"])
    op.create_index(op.f("ix_kept_results_time"), "kept_results", ["time"])
