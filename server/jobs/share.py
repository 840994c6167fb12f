"""Deals the segments of a long job out: its own worker makes ranges of them beside those who help.

What it is not: the helpers' side (helper.py) or the claims (ranges.py).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import structlog

from server.jobs.claims import Owner
from server.jobs.database import StoreError
from server.jobs.job import Job
from server.jobs.patience import insist
from server.jobs.store import JobStore
from server.jobs.watch import JobWatch
from server.settings import Settings
from trans_dh_service.plan import Plan, Share, gaps, segments_done
from trans_dh_service.task import StoppedError

log = structlog.get_logger(__name__)

_WAIT_S = 0.1
# A range costs a fraction of a second to begin: the way to its first frame.
_LEAST = 2


class Sharing:
    """Makes the `Share` of each job of one worker."""

    def __init__(self, settings: Settings, store: JobStore, owner: Owner) -> None:
        self._settings = settings
        self._store = store
        self._owner = owner

    @property
    def wanted(self) -> bool:
        """Whether there is another worker to share with."""
        return self._settings.split_min_segments > 0 and self._settings.gunicorn_workers > 1

    def of(self, job: Job, watch: JobWatch) -> Share | None:
        """How the job's segments are dealt out; None where its worker is alone."""
        return partial(self._deal, job, watch) if self.wanted else None

    def _deal(
        self, job: Job, watch: JobWatch, work_dir: Path, plan: Plan
    ) -> Generator[tuple[int, int], None, None]:
        if _count(gaps(work_dir, plan)) <= self._settings.split_min_segments:
            return
        self._await_former(job, watch)
        parts = list(self._cut(gaps(work_dir, plan)))
        ranges = self._store.ranges
        if not insist(lambda: ranges.offer(job, parts)):
            raise StoppedError("the claim on the job is lost")
        log.info("job_shared", job_id=job.id, ranges=len(parts))
        try:
            yield from self._parts(job, watch, work_dir, plan)
        finally:
            with suppress(StoreError):  # left behind, they still end with the attempt
                ranges.withdraw(job)

    def _cut(self, missing: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        """Ranges in order, of at most SPLIT_RANGE_SEGMENTS; smaller towards the end, so that all
        workers end at about the same time (Polychronopoulos and Kuck 1987, guided scheduling).
        """
        left, shares = _count(missing), 2 * self._settings.gunicorn_workers
        for first, end in missing:
            while first < end:
                even = max(_LEAST, -(-left // shares))
                stop = min(first + even, first + self._settings.split_range_segments, end)
                yield first, stop
                left, first = left - (stop - first), stop

    def _await_former(self, job: Job, watch: JobWatch) -> None:
        """Helpers of a killed worker stop within a second; what they are at is not begun twice."""
        while insist(lambda: self._store.ranges.lingering(job)):
            _pause(watch)

    def _parts(
        self, job: Job, watch: JobWatch, work_dir: Path, plan: Plan
    ) -> Generator[tuple[int, int], None, None]:
        ranges = self._store.ranges
        while True:
            watch.count(segments_done(work_dir, plan), plan.segments)
            part = insist(lambda: ranges.take(job, self._owner))
            if part is not None:
                log.info("range_started", job_id=job.id, first=part.first, end=part.end)
                yield part.first, part.end
                insist(partial(ranges.finish, part))
            elif insist(lambda: ranges.left(job)):
                watch.progress(_made(work_dir, plan), plan.frames)
                _pause(watch)
            else:
                return


def _pause(watch: JobWatch) -> None:
    if watch.stopped():
        raise StoppedError("stopped while others were at work")
    time.sleep(_WAIT_S)


def _count(missing: Sequence[tuple[int, int]]) -> int:
    return sum(end - first for first, end in missing)


def _made(work_dir: Path, plan: Plan) -> int:
    """Frames in finished segments."""
    missing = gaps(work_dir, plan)
    return plan.frames - sum(plan.start(end) - plan.start(first) for first, end in missing)
