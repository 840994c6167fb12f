"""The job store: what clients do to rows: submit, look, cancel, delete. The record of every job.

What it is not: the files (files.py), or the work (runner.py). Thread-safe; one object per process.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
import structlog

from server.jobs.claims import Claims
from server.jobs.database import Database, StoreError
from server.jobs.job import Job, JobRequest, JobState
from server.jobs.ranges import Ranges
from server.jobs.table import fresh_values, jobs, to_job
from server.settings import Settings

log = structlog.get_logger(__name__)

_FINAL = tuple(state.value for state in JobState if state.final)
# SQLite takes at most 32766 values in one statement; a page of names stays far below.
_NAMES_AT_ONCE = 500


class ConflictError(ValueError):
    """The key or code belongs to another request. `field` is "idempotency_key" or "code"."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class QueueFullError(RuntimeError):
    """As many jobs wait as may wait."""


@dataclass(frozen=True)
class Submission:
    """A job to be stored. `fingerprint` is the same for the same request and no other; `seconds`
    and pixels are what the result will have.
    """

    id: str
    request: JobRequest
    fingerprint: str
    seconds: float | None = None
    width_px: int | None = None
    height_px: int | None = None


@dataclass(frozen=True)
class Submitted:
    """The stored job; `created` is False when an equal request had made it before."""

    job: Job
    created: bool


@dataclass(frozen=True)
class Page:
    """A part of the list of jobs."""

    jobs: Sequence[Job]
    has_more: bool


def new_job_id() -> str:
    """A name that cannot be guessed, safe in a URL and as a file name."""
    return f"video_{secrets.token_hex(16)}"


class JobStore(Claims):
    """All jobs, and their `ranges`. `changed` is set whenever a job was queued in this process:
    runners wait on it.
    """

    def __init__(self, database: Database, max_crashes: int) -> None:
        super().__init__(database, max_crashes)
        self.ranges = Ranges(database)
        self.changed = threading.Event()

    def submit(self, submission: Submission, max_queued: int) -> Submitted:
        """Store a job, or find the one that an equal request made.

        Raises:
            ConflictError: the key or code belongs to another request.
            QueueFullError: `max_queued` jobs wait already.
        """
        try:
            with self._database.write() as connection:
                done = _submit(connection, submission, max_queued)
        except sa.exc.IntegrityError:
            # Lost a race for the key or the code (PostgreSQL; SQLite has one writer): the winner's
            # row is there now.
            with self._database.write() as connection:
                done = _submit(connection, submission, max_queued)
        if done.created:
            log.info("job_queued", job_id=done.job.id)
            self.changed.set()
        return done

    def get(self, job_id: str) -> Job | None:
        """The job of this id."""
        return self._one(jobs.c.id == job_id)

    def by_code(self, code: str) -> Job | None:
        """The job that a HeyGem client knows under this code."""
        return self._one(jobs.c.code == code)

    def _one(self, condition: sa.ColumnElement[bool]) -> Job | None:
        with self._database.read() as connection:
            row = connection.execute(sa.select(jobs).where(condition)).mappings().one_or_none()
        return to_job(row) if row else None

    def list(self, after: str | None, limit: int, *, newest_first: bool = True) -> Page:
        """Up to `limit` jobs that follow the job `after` in the order asked for.

        Raises:
            LookupError: there is no job `after`.
        """
        statement = sa.select(jobs).limit(limit + 1)
        with self._database.read() as connection:
            if after is not None:
                seq = connection.scalar(sa.select(jobs.c.seq).where(jobs.c.id == after))
                if seq is None:
                    raise LookupError(after)
                statement = statement.where(jobs.c.seq < seq if newest_first else jobs.c.seq > seq)
            order = jobs.c.seq.desc() if newest_first else jobs.c.seq.asc()
            rows = connection.execute(statement.order_by(order)).mappings().all()
        return Page([to_job(row) for row in rows[:limit]], len(rows) > limit)

    def position(self, job_id: str) -> int | None:
        """Place in the queue, 1 = next; None when the job does not wait."""
        own = sa.select(jobs.c.seq).where(jobs.c.id == job_id, jobs.c.state == JobState.QUEUED)
        ahead = sa.select(sa.func.count()).where(
            jobs.c.state == JobState.QUEUED, jobs.c.seq <= own.scalar_subquery()
        )
        with self._database.read() as connection:
            return connection.scalar(ahead) or None

    def counts(self) -> dict[JobState, int]:
        """How many jobs are in each state."""
        statement = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
        with self._database.read() as connection:
            found = {JobState(state): count for state, count in connection.execute(statement)}
        return {state: found.get(state, 0) for state in JobState}

    def cancel(self, job_id: str) -> Job | None:
        """End a job that is not final; a final one stays as it is. The job after that, or None.

        The worker that holds it finds its claim gone at its next look and stops.
        """
        statement = (
            sa.update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state.not_in(_FINAL))
            .values(state=JobState.CANCELLED.value, finished_at=time.time(), lease_until=None)
        )
        with self._database.write() as connection:
            connection.execute(statement)
            row = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).mappings()
            found = row.one_or_none()
        return to_job(found) if found else None

    def delete(self, job_id: str) -> Job | None:
        """Forget a job; the job as it was, or None. A worker that holds it stops as for cancel."""
        statement = sa.delete(jobs).where(jobs.c.id == job_id).returning(*jobs.c)
        with self._database.write() as connection:
            row = connection.execute(statement).mappings().one_or_none()
        return to_job(row) if row else None

    def finished_before(self, time_s: float, limit: int = 100) -> Sequence[Job]:
        """Final jobs that ended before this moment (seconds since the epoch), oldest first."""
        statement = (
            sa.select(jobs)
            .where(jobs.c.state.in_(_FINAL), jobs.c.finished_at < time_s)
            .order_by(jobs.c.seq)
            .limit(limit)
        )
        with self._database.read() as connection:
            return [to_job(row) for row in connection.execute(statement).mappings()]

    def states(self, job_ids: Collection[str]) -> dict[str, JobState]:
        """The state of each of these jobs that exists."""
        names = sorted(job_ids)
        found: dict[str, JobState] = {}
        with self._database.read() as connection:
            for start in range(0, len(names), _NAMES_AT_ONCE):
                part = names[start : start + _NAMES_AT_ONCE]
                rows = connection.execute(
                    sa.select(jobs.c.id, jobs.c.state).where(jobs.c.id.in_(part))
                )
                found.update({name: JobState(state) for name, state in rows})
        return found

    def close(self) -> None:
        """Close the connections of this process."""
        self._database.close()


def open_store(settings: Settings) -> JobStore:
    """The store of these settings, with its tables brought up to date.

    Raises:
        StoreError: it cannot be opened; the message says why.
    """
    database = Database(settings.database)
    try:
        database.migrate(settings.data_dir / "run" / "migrate.lock")
    except OSError as error:
        raise StoreError(f"DATA_DIR={settings.data_dir} cannot be written: {error}") from error
    return JobStore(database, settings.max_job_crashes)


def _submit(connection: sa.Connection, submission: Submission, max_queued: int) -> Submitted:
    known = _same_key(connection, submission) or _same_code(connection, submission)
    if known is not None:
        return Submitted(known, created=False)
    waiting = connection.scalar(
        sa.select(sa.func.count()).where(jobs.c.state == JobState.QUEUED.value)
    )
    if waiting is not None and waiting >= max_queued:
        raise QueueFullError(f"{waiting} jobs wait already; at most {max_queued} may wait")
    statement = sa.insert(jobs).values(_values(submission)).returning(*jobs.c)
    return Submitted(to_job(connection.execute(statement).mappings().one()), created=True)


def _same_key(connection: sa.Connection, submission: Submission) -> Job | None:
    key = submission.request.idempotency_key
    if key is None:
        return None
    row = _find(connection, jobs.c.idempotency_key == key)
    if row is None:
        return None
    if row["fingerprint"] != submission.fingerprint:
        raise ConflictError(
            "idempotency_key",
            f"Idempotency-Key {key!r} was used for another request (job {row['id']}); "
            "use a new key for a new request",
        )
    return to_job(row)


def _same_code(connection: sa.Connection, submission: Submission) -> Job | None:
    """The job of the same code, when the request is the same; a finished job gives its code up."""
    code = submission.request.code
    if code is None:
        return None
    row = _find(connection, jobs.c.code == code)
    if row is None:
        return None
    job = to_job(row)
    same = row["fingerprint"] == submission.fingerprint
    if same and job.state not in (JobState.FAILED, JobState.CANCELLED):
        return job
    if not job.state.final:
        raise ConflictError(
            "code", f"code {code!r} belongs to another job that is {job.state.value}"
        )
    connection.execute(sa.update(jobs).where(jobs.c.id == job.id).values(code=None))
    return None


def _find(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> sa.RowMapping | None:
    return connection.execute(sa.select(jobs).where(condition)).mappings().one_or_none()


def _values(submission: Submission) -> dict[str, Any]:
    request = submission.request
    return {
        **fresh_values(),
        "id": submission.id,
        "video_path": request.video_path,
        "audio_path": request.audio_path,
        "model": request.model,
        "loop": request.loop,
        "code": request.code,
        "idempotency_key": request.idempotency_key,
        "fingerprint": submission.fingerprint,
        "owns_inputs": request.owns_inputs,
        "watermark": request.watermark,
        "restore_face": request.restore_face,
        "created_at": time.time(),
        "seconds": submission.seconds,
        "width_px": submission.width_px,
        "height_px": submission.height_px,
    }
