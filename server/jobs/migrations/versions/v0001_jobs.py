"""The table of jobs.

What it is not: the table of today (server/jobs/table.py); a test compares the two.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and its indexes."""
    counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "jobs",
        sa.Column("seq", counter, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False, unique=True),
        *_request_columns(),
        *_work_columns(),
        *_outcome_columns(),
        sqlite_autoincrement=True,
    )
    op.create_index("jobs_by_state", "jobs", ["state", "seq"])


def downgrade() -> None:
    """Drop the table with all its rows."""
    op.drop_table("jobs")


def _request_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("video_path", sa.Text, nullable=False),
        sa.Column("audio_path", sa.Text, nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("loop", sa.String(16), nullable=False),
        sa.Column("code", sa.String(255), nullable=True, unique=True),
        sa.Column("idempotency_key", sa.String(255), nullable=True, unique=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("owns_inputs", sa.Boolean, nullable=False),
        sa.Column("watermark", sa.Boolean, nullable=False),
        sa.Column("restore_face", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Float(53), nullable=False),
    ]


def _work_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("progress", sa.Integer, nullable=False),
        sa.Column("stage", sa.String(32), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("segments_done", sa.Integer, nullable=False),
        sa.Column("segments_total", sa.Integer, nullable=False),
        sa.Column("started_at", sa.Float(53), nullable=True),
        sa.Column("finished_at", sa.Float(53), nullable=True),
        sa.Column("owner", sa.String(255), nullable=True),
        sa.Column("lease_until", sa.Float(53), nullable=True),
    ]


def _outcome_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("seconds", sa.Float(53), nullable=True),
        sa.Column("width_px", sa.Integer, nullable=True),
        sa.Column("height_px", sa.Integer, nullable=True),
        sa.Column("result_path", sa.Text, nullable=True),
        sa.Column("result_bytes", sa.BigInteger, nullable=True),
        sa.Column("error_code", sa.String(64), nullable=True),
        sa.Column("error_message", sa.Text, nullable=True),
        sa.Column("note", sa.Text, nullable=False),
    ]
