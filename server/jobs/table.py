"""The tables of jobs and of their ranges, and the way from a row to a `Job`.

What it is not: queries (store.py, claims.py, ranges.py) or the migrations that make the tables
(migrations/).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from server.jobs.job import Job, JobError, JobOutcome, JobRequest, JobState

metadata = sa.MetaData()

# SQLite counts rows by itself only for a column of exactly the type INTEGER.
_Counter = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("seq", _Counter, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False, unique=True),
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
    sa.Column("seconds", sa.Float(53), nullable=True),
    sa.Column("width_px", sa.Integer, nullable=True),
    sa.Column("height_px", sa.Integer, nullable=True),
    sa.Column("result_path", sa.Text, nullable=True),
    sa.Column("result_bytes", sa.BigInteger, nullable=True),
    sa.Column("error_code", sa.String(64), nullable=True),
    sa.Column("error_message", sa.Text, nullable=True),
    sa.Column("note", sa.Text, nullable=False),
    sa.Index("jobs_by_state", "state", "seq"),
    # Numbers are never used twice, or a page that starts "after" a deleted job could repeat rows.
    sqlite_autoincrement=True,
)

# The parts of a job that several workers make at once; rows live as long as one attempt at the job.
ranges = sa.Table(
    "ranges",
    metadata,
    sa.Column("seq", _Counter, primary_key=True, autoincrement=True),
    sa.Column(
        "job_id",
        sa.String(64),
        sa.ForeignKey("jobs.id", name="ranges_of_job", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("job_attempt", sa.Integer, nullable=False),
    sa.Column("first_segment", sa.Integer, nullable=False),
    sa.Column("end_segment", sa.Integer, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("owner", sa.String(255), nullable=True),
    sa.Column("lease_until", sa.Float(53), nullable=True),
    sa.Index("ranges_by_job", "job_id", "seq"),
    sqlite_autoincrement=True,
)


def fresh_values() -> dict[str, Any]:
    """The columns of a job that nobody has touched yet."""
    return {
        "state": JobState.QUEUED.value,
        "progress": 0,
        "stage": "",
        "attempt": 0,
        "crashes": 0,
        "segments_done": 0,
        "segments_total": 0,
        "note": "",
    }


def to_job(row: sa.RowMapping) -> Job:
    """The value of a row."""
    return Job(
        id=row["id"],
        request=_request(row),
        state=JobState(row["state"]),
        created_at=row["created_at"],
        progress=row["progress"],
        stage=row["stage"],
        attempt=row["attempt"],
        crashes=row["crashes"],
        segments_done=row["segments_done"],
        segments_total=row["segments_total"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        owner=row["owner"],
        lease_until=row["lease_until"],
        seconds=row["seconds"],
        width_px=row["width_px"],
        height_px=row["height_px"],
        outcome=_outcome(row),
        error=_error(row),
        note=row["note"],
    )


def _request(row: sa.RowMapping) -> JobRequest:
    return JobRequest(
        video_path=row["video_path"],
        audio_path=row["audio_path"],
        model=row["model"],
        loop=row["loop"],
        code=row["code"],
        idempotency_key=row["idempotency_key"],
        owns_inputs=row["owns_inputs"],
        watermark=row["watermark"],
        restore_face=row["restore_face"],
    )


def _outcome(row: sa.RowMapping) -> JobOutcome | None:
    if row["result_path"] is None:
        return None
    return JobOutcome(
        path=row["result_path"],
        seconds=row["seconds"] or 0.0,
        width_px=row["width_px"] or 0,
        height_px=row["height_px"] or 0,
        bytes=row["result_bytes"] or 0,
        note=row["note"],
    )


def _error(row: sa.RowMapping) -> JobError | None:
    if row["error_code"] is None:
        return None
    return JobError(row["error_code"], row["error_message"] or "")
