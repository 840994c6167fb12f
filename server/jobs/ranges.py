"""Claims on parts of a job: several workers make ranges of its segments at once.

What it is not: the claim on the job itself (claims.py). The job's own worker offers the ranges and
takes some; the others of the same host help. Every range lives and dies with the attempt at the
job: when that ends in any way, nobody holds a range of it any more.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import sqlalchemy as sa

from server.jobs.claims import Owner
from server.jobs.database import Database
from server.jobs.job import Job, JobState
from server.jobs.table import jobs, ranges, to_job

# A range that two helpers left unfinished is the job's own worker's: what is wrong then ends its
# attempt, and is counted.
_HELPS = 2


class RangeState(StrEnum):
    """open → taken → done; taken → open when its worker gives it up or dies."""

    OPEN = "open"
    TAKEN = "taken"
    DONE = "done"


@dataclass(frozen=True)
class SegmentRange:
    """The segments `first` up to but without `end`; `attempt` is the claim's fencing token."""

    seq: int
    job_id: str
    job_attempt: int
    first: int
    end: int
    attempt: int


class Ranges:
    """The ranges of all jobs. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def offer(self, job: Job, parts: Sequence[tuple[int, int]]) -> bool:
        """Put a job's ranges (first, end) out, instead of all earlier ones. False when the claim on
        the job is lost.
        """
        rows = [
            {
                "job_id": job.id,
                "job_attempt": job.attempt,
                "first_segment": first,
                "end_segment": end,
                "state": RangeState.OPEN.value,
                "attempt": 0,
            }
            for first, end in parts
        ]
        with self._database.write() as connection:
            if connection.execute(sa.select(jobs.c.seq).where(*_in_force(job))).first() is None:
                return False
            connection.execute(sa.delete(ranges).where(ranges.c.job_id == job.id))
            if rows:
                connection.execute(sa.insert(ranges), rows)
        return True

    def take(self, job: Job, owner: Owner) -> SegmentRange | None:
        """The next range of the caller's own job that nobody is at, or None. It needs no lease: it
        ends with the claim on the job.
        """
        wanted = (ranges.c.job_id == job.id, ranges.c.job_attempt == job.attempt, _free())
        return self._taken(wanted, owner, None)

    def help(
        self, owner: Owner, lease_s: float, skip: Collection[str] = ()
    ) -> tuple[Job, SegmentRange] | None:
        """Take a range of a job of another worker on this host, the oldest job first; None when
        there is nothing to help with. Jobs in `skip` are passed over.
        """
        wanted = (
            _free(),
            ranges.c.attempt < _HELPS,
            ranges.c.job_id.not_in(skip),
            _of_running_job(
                jobs.c.owner.startswith(f"{owner.host}:", autoescape=True),
                jobs.c.owner != str(owner),
            ),
        )
        with self._database.read() as connection:
            if connection.execute(sa.select(ranges.c.seq).where(*wanted).limit(1)).first() is None:
                return None
        part = self._taken(wanted, owner, time.time() + lease_s)
        if part is None:
            return None
        with self._database.read() as connection:
            row = connection.execute(sa.select(jobs).where(jobs.c.id == part.job_id)).mappings()
            job = row.one_or_none()
        return (to_job(job), part) if job else None

    def _taken(
        self,
        wanted: Sequence[sa.ColumnElement[bool]],
        owner: Owner,
        lease_until: float | None,
    ) -> SegmentRange | None:
        first = (
            sa.select(ranges.c.seq)
            .where(*wanted)
            .order_by(ranges.c.seq)
            .limit(1)
            .with_for_update(skip_locked=True, of=ranges)
            .scalar_subquery()
        )
        values: dict[str, Any] = {
            "state": RangeState.TAKEN.value,
            "owner": str(owner),
            "lease_until": lease_until,
            "attempt": ranges.c.attempt + 1,
        }
        statement = sa.update(ranges).where(ranges.c.seq == first).values(values)
        with self._database.write() as connection:
            row = connection.execute(statement.returning(*ranges.c)).mappings().one_or_none()
        return _to_range(row) if row else None

    def held(self, part: SegmentRange) -> bool:
        """Whether the claim on the range is still in force, and the one on its job."""
        statement = sa.select(ranges.c.seq).where(*_claim(part), _of_running_job())
        with self._database.read() as connection:
            return connection.execute(statement).first() is not None

    def heartbeat(self, part: SegmentRange, lease_s: float) -> bool:
        """Say that the range's worker lives; False when its claim is lost."""
        values = {"lease_until": time.time() + lease_s}
        return self._update(part, values, _of_running_job())

    def finish(self, part: SegmentRange) -> bool:
        """All its segments are on disk."""
        values = {"state": RangeState.DONE.value, "lease_until": None}
        return self._update(part, values, _of_running_job())

    def release(self, part: SegmentRange) -> bool:
        """Give it up; another worker goes on with what is missing."""
        return self._update(part, _OPENED)

    def _update(
        self, part: SegmentRange, values: dict[str, Any], *more: sa.ColumnElement[bool]
    ) -> bool:
        statement = sa.update(ranges).where(*_claim(part), *more).values(values)
        with self._database.write() as connection:
            return connection.execute(statement).rowcount == 1

    def recover(self, owner: Owner) -> int:
        """Open what dead processes of this slot held; how many ranges."""
        dead = (
            ranges.c.state == RangeState.TAKEN.value,
            ranges.c.owner.startswith(owner.place, autoescape=True),
            ranges.c.owner != str(owner),
        )
        with self._database.read() as connection:
            if connection.execute(sa.select(ranges.c.seq).where(*dead)).first() is None:
                return 0
        with self._database.write() as connection:
            return connection.execute(sa.update(ranges).where(*dead).values(_OPENED)).rowcount

    def left(self, job: Job) -> int:
        """How many ranges of this attempt are not done."""
        statement = sa.select(sa.func.count()).where(
            ranges.c.job_id == job.id,
            ranges.c.job_attempt == job.attempt,
            ranges.c.state != RangeState.DONE.value,
        )
        with self._database.read() as connection:
            return connection.scalar(statement) or 0

    def lingering(self, job: Job) -> bool:
        """Whether helpers of an earlier attempt may still be at work on this job."""
        statement = sa.select(ranges.c.seq).where(
            ranges.c.job_id == job.id,
            ranges.c.job_attempt < job.attempt,
            ranges.c.state == RangeState.TAKEN.value,
            ranges.c.lease_until >= time.time(),
        )
        with self._database.read() as connection:
            return connection.execute(statement).first() is not None

    def withdraw(self, job: Job) -> None:
        """The attempt ends: nobody takes a range of it any more. Helpers at work lose theirs with
        the claim on the job; their rows stay so that the next attempt can wait for them.
        """
        mine = (
            ranges.c.job_id == job.id,
            ranges.c.job_attempt == job.attempt,
            ranges.c.lease_until.is_(None),
        )
        with self._database.write() as connection:
            connection.execute(sa.delete(ranges).where(*mine))


_OPENED: dict[str, Any] = {"state": RangeState.OPEN.value, "owner": None, "lease_until": None}


def _free() -> sa.ColumnElement[bool]:
    """Open, or taken by a worker whose lease ran out."""
    return sa.or_(
        ranges.c.state == RangeState.OPEN.value,
        sa.and_(ranges.c.state == RangeState.TAKEN.value, ranges.c.lease_until < time.time()),
    )


def _claim(part: SegmentRange) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        ranges.c.seq == part.seq,
        ranges.c.attempt == part.attempt,
        ranges.c.state == RangeState.TAKEN.value,
    )


def _in_force(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        jobs.c.id == job.id,
        jobs.c.attempt == job.attempt,
        jobs.c.state == JobState.IN_PROGRESS.value,
    )


def _of_running_job(*more: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """The attempt that offered the range is still the one in force."""
    return sa.exists().where(
        jobs.c.id == ranges.c.job_id,
        jobs.c.attempt == ranges.c.job_attempt,
        jobs.c.state == JobState.IN_PROGRESS.value,
        *more,
    )


def _to_range(row: sa.RowMapping) -> SegmentRange:
    return SegmentRange(
        row["seq"],
        row["job_id"],
        row["job_attempt"],
        row["first_segment"],
        row["end_segment"],
        row["attempt"],
    )
