"""The table of ranges: parts of a job that several workers make at once.

What it is not: the table of today (server/jobs/table.py); a test compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and its index."""
    counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    job = sa.ForeignKey("jobs.id", name="ranges_of_job", ondelete="CASCADE")
    op.create_table(
        "ranges",
        sa.Column("seq", counter, primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.String(64), job, nullable=False),
        sa.Column("job_attempt", sa.Integer, nullable=False),
        sa.Column("first_segment", sa.Integer, nullable=False),
        sa.Column("end_segment", sa.Integer, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(255), nullable=True),
        sa.Column("lease_until", sa.Float(53), nullable=True),
        sqlite_autoincrement=True,
    )
    op.create_index("ranges_by_job", "ranges", ["job_id", "seq"])


def downgrade() -> None:
    """Drop the table with all its rows."""
    op.drop_table("ranges")
