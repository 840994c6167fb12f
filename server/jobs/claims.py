"""What a runner does to rows: claim, keep alive, report, finish, give back, recover.

What it is not: what clients do (store.py). Every write is fenced by (id, attempt, in_progress): a
worker whose claim is no longer in force gets False and must stop.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql import dml

from server.jobs.database import Database
from server.jobs.job import Job, JobError, JobOutcome, JobState
from server.jobs.table import jobs, to_job

_QUEUED = JobState.QUEUED.value
_RUNNING = JobState.IN_PROGRESS.value
WORKER_KILLED = "worker_killed"


@dataclass(frozen=True)
class Owner:
    """Who holds a claim. Two owners with the same host and slot never live at once: the lease on
    the device slot is exclusive.
    """

    host: str
    slot: int
    pid: int
    started_at: float

    @property
    def place(self) -> str:
        """The part that the next process in this slot shares."""
        return f"{self.host}:{self.slot}:"

    def __str__(self) -> str:
        return f"{self.place}{self.pid}:{self.started_at:.3f}"


@dataclass(frozen=True)
class Report:
    """What a running job says of itself. `progress` is 0..100."""

    stage: str
    progress: int
    segments_done: int
    segments_total: int
    new_segment: bool = False


class Claims:
    """The runner's half of the store."""

    def __init__(self, database: Database, max_crashes: int) -> None:
        self._database = database
        self._max_crashes = max_crashes

    def claim(self, owner: Owner, lease_s: float) -> Job | None:
        """Take the oldest queued job, or None. Never the same job to two callers."""
        if not self.anything_queued():
            return None
        statement = claim_statement(owner, lease_s)
        with self._database.write() as connection:
            row = connection.execute(statement).mappings().one_or_none()
        return to_job(row) if row else None

    def anything_queued(self) -> bool:
        """Whether a job waits for a worker."""
        statement = sa.select(jobs.c.seq).where(jobs.c.state == _QUEUED).limit(1)
        with self._database.read() as connection:
            return connection.execute(statement).first() is not None

    def held(self, job: Job) -> bool:
        """Whether the claim is still in force."""
        statement = sa.select(jobs.c.seq).where(*_fence(job))
        with self._database.read() as connection:
            return connection.execute(statement).first() is not None

    def heartbeat(self, job: Job, lease_s: float) -> bool:
        """Say that the job's worker lives; False when the claim is lost."""
        return self._update(job, {"lease_until": time.time() + lease_s})

    def report(self, job: Job, report: Report) -> bool:
        """Store progress. A new segment clears the count of crashes: work is getting done."""
        values: dict[str, Any] = {
            "stage": report.stage,
            "progress": report.progress,
            "segments_done": report.segments_done,
            "segments_total": report.segments_total,
        }
        if report.new_segment:
            values["crashes"] = 0
        return self._update(job, values)

    def complete(self, job: Job, outcome: JobOutcome) -> bool:
        """The result lies whole in its place; False when the claim was lost before."""
        return self._finish(
            job,
            JobState.COMPLETED,
            {
                "progress": 100,
                "seconds": outcome.seconds,
                "width_px": outcome.width_px,
                "height_px": outcome.height_px,
                "result_path": outcome.path,
                "result_bytes": outcome.bytes,
                "note": outcome.note,
            },
        )

    def fail(self, job: Job, error: JobError) -> bool:
        """The job will never succeed."""
        values = {"error_code": error.code, "error_message": error.message}
        return self._finish(job, JobState.FAILED, values)

    def _finish(self, job: Job, state: JobState, values: dict[str, Any]) -> bool:
        end = {"state": state.value, "finished_at": time.time(), **_UNCLAIMED}
        return self._update(job, {**values, **end})

    def release(self, job: Job, note: str = "") -> bool:
        """Back to the queue, at its old place, without blame: the worker ends in good order."""
        return self._update(job, {"state": _QUEUED, "note": note, **_UNCLAIMED})

    def give_up(self, job: Job, reason: str) -> Job | None:
        """Count a crash: back to the queue, or failed when there were too many. The job after
        that, or None when the claim was lost.
        """
        with self._database.write() as connection:
            found = connection.execute(sa.select(jobs).where(*_fence(job)).with_for_update())
            row = found.mappings().one_or_none()
            return self._blame(connection, to_job(row), reason) if row else None

    def recover(self, owner: Owner) -> list[Job]:
        """Take back what dead workers held: those of this slot before, and all whose lease ran
        out. Each counts as a crash. The jobs after that.

        A claim of `owner` itself is taken back only when its lease ran out.
        """
        before = sa.and_(
            jobs.c.owner.startswith(owner.place, autoescape=True), jobs.c.owner != str(owner)
        )
        statement = (
            sa.select(jobs)
            .where(
                jobs.c.state == _RUNNING,
                sa.or_(before, jobs.c.lease_until < time.time()),
            )
            .order_by(jobs.c.seq)
            .with_for_update(skip_locked=True)
        )
        with self._database.read() as connection:
            if connection.execute(statement.with_only_columns(jobs.c.seq)).first() is None:
                return []
        with self._database.write() as connection:
            dead = [to_job(row) for row in connection.execute(statement).mappings()]
            return [self._blame(connection, job, "the worker was killed") for job in dead]

    def _blame(self, connection: sa.Connection, job: Job, reason: str) -> Job:
        crashes = job.crashes + 1
        values: dict[str, Any] = {"crashes": crashes, "note": reason, **_UNCLAIMED}
        if crashes >= self._max_crashes:
            message = (
                f"{reason} {crashes} times while it worked on this job without finishing a segment "
                f"(limit MAX_JOB_CRASHES={self._max_crashes})"
            )
            values |= {
                "state": JobState.FAILED.value,
                "finished_at": time.time(),
                "error_code": WORKER_KILLED,
                "error_message": message,
            }
        else:
            values["state"] = _QUEUED
        statement = sa.update(jobs).where(*_fence(job)).values(values).returning(*jobs.c)
        return to_job(connection.execute(statement).mappings().one())

    def _update(self, job: Job, values: dict[str, Any]) -> bool:
        statement = sa.update(jobs).where(*_fence(job)).values(values)
        with self._database.write() as connection:
            return connection.execute(statement).rowcount == 1


def claim_statement(owner: Owner, lease_s: float) -> dml.ReturningUpdate[Any]:
    """Take the oldest queued job in one statement. PostgreSQL skips rows that others are taking;
    SQLite has one writer at a time and ignores that clause.
    """
    oldest = (
        sa.select(jobs.c.seq)
        .where(jobs.c.state == _QUEUED)
        .order_by(jobs.c.seq)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    now = time.time()
    values = {
        "state": _RUNNING,
        "attempt": jobs.c.attempt + 1,
        "owner": str(owner),
        "lease_until": now + lease_s,
        "started_at": sa.func.coalesce(jobs.c.started_at, now),
        "stage": "",
    }
    taken = sa.update(jobs).where(jobs.c.seq == oldest, jobs.c.state == _QUEUED)
    return taken.values(values).returning(*jobs.c)


_UNCLAIMED: dict[str, Any] = {"owner": None, "lease_until": None, "stage": ""}


def _fence(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        jobs.c.id == job.id,
        jobs.c.attempt == job.attempt,
        jobs.c.state == _RUNNING,
    )
