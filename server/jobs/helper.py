"""Helps with long jobs of other workers, one range of segments at a time.

What it is not: the job's own worker, who offers the ranges and joins them (share.py). A helper that
fails says so and leaves the job alone from then on: its own worker meets the same trouble and
reports it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog

from server.jobs.claims import Owner
from server.jobs.database import StoreError
from server.jobs.files import JobFiles
from server.jobs.job import Job, JobState
from server.jobs.patience import insist
from server.jobs.ranges import SegmentRange
from server.jobs.store import JobStore
from server.jobs.watch import JobWatch, Stop
from server.jobs.work import Work
from server.settings import Settings
from trans_dh_service.pipeline import dub_range
from trans_dh_service.task import DubTask, DubTools, DubWatch, StoppedError

DubRange = Callable[[DubTask, DubTools, DubWatch, int, int], int]

log = structlog.get_logger(__name__)

_REMEMBERED = 100


class RangeWatch(JobWatch):
    """The watch of one range; `soon` ends it at the next segment's end."""

    _whole = False

    def __init__(self, job: Job, part: SegmentRange) -> None:
        super().__init__(job)
        self.part = part
        self._soon = False

    def soon(self) -> None:
        """Stop once the segment in work is on disk."""
        self._soon = True

    def segment(self, index: int, total: int) -> None:
        """Segment `index` is on disk: a good moment to stop."""
        super().segment(index, total)
        if self._soon:
            self.stop(Stop.YIELD)


class Helper:
    """One per worker; at most one range at a time."""

    def __init__(
        self, settings: Settings, store: JobStore, files: JobFiles, work: Work, owner: Owner
    ) -> None:
        self._settings = settings
        self._store = store
        self._files = files
        self._work = work
        self._owner = owner
        self._lock = threading.Lock()
        self._avoided: deque[str] = deque(maxlen=_REMEMBERED)
        self.watch: RangeWatch | None = None
        self.dub_range: DubRange = dub_range

    def find(self) -> RangeWatch | None:
        """Take a range of another worker's job; None when there is none, or one is in work."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            if self.watch is not None:
                return None
            found = self._store.ranges.help(
                self._owner, self._settings.job_lease_s, tuple(self._avoided)
            )
            self.watch = RangeWatch(*found) if found else None
            return self.watch
        except StoreError as error:
            log.error("help_failed", error=str(error))
            return None
        finally:
            self._lock.release()

    def run(self, watch: RangeWatch) -> bool:
        """Work on a range until it ends in some way. Whether the thread may do something else."""
        part = watch.part
        log.info("range_started", job_id=part.job_id, first=part.first, end=part.end)
        try:
            made = self._make(watch)
            log.info("range_finished", job_id=part.job_id, first=part.first, made=made)
        except StoppedError:
            self._stopped(watch)
        except Exception as error:  # noqa: BLE001 - a range's border: its job's worker goes on
            self._failed(watch, error)
        if self.watch is watch:
            self.watch = None
        return watch.why is not Stop.STALLED

    def _make(self, watch: RangeWatch) -> int:
        job, part = watch.job, watch.part
        task, tools = self._work.task_of(job), self._work.tools_for(job)
        made = self.dub_range(task, tools, watch, part.first, part.end)
        insist(lambda: self._store.ranges.finish(part))
        return made

    def _stopped(self, watch: RangeWatch) -> None:
        log.info("range_stopped", job_id=watch.job.id, reason=watch.why or "its plan is gone")
        self._let_go(watch)
        if watch.why is Stop.LOST:
            self._clear_up(watch.job)

    def _failed(self, watch: RangeWatch, error: Exception) -> None:
        if watch.stopped() or self._lost(watch):
            # Files vanish under a range whose job was ended; what comes of that means nothing.
            self._stopped(watch)
            return
        log.warning("range_failed", job_id=watch.job.id, exc_info=error)
        self._avoided.append(watch.job.id)
        self._let_go(watch)

    def _lost(self, watch: RangeWatch) -> bool:
        with suppress(StoreError):
            if not self._store.ranges.held(watch.part):
                watch.stop(Stop.LOST)
        return watch.stopped()

    def _let_go(self, watch: RangeWatch) -> None:
        with suppress(StoreError):  # its lease then runs out
            self._store.ranges.release(watch.part)

    def _clear_up(self, job: Job) -> None:
        """Remove what was written after the job's own worker had cleared up."""
        with suppress(StoreError):
            now = self._store.get(job.id)
            if now is None or now.state in (JobState.FAILED, JobState.CANCELLED):
                self._files.discard_work(job.id)

    def tend(self, *, beat: bool, busy: bool) -> bool:
        """Look after the range in work: is its claim in force, does it get on, is there something
        more urgent? False when its thread hangs and was given up.

        Args:
            beat: whether the lease is due.
            busy: whether this worker has jobs of its own, or some wait.

        Raises:
            StoreError: the store could not be asked.
        """
        watch = self.watch
        if watch is None:
            return True
        ranges, lease_s = self._store.ranges, self._settings.job_lease_s
        held = ranges.heartbeat(watch.part, lease_s) if beat else ranges.held(watch.part)
        if not held:
            watch.stop(Stop.LOST)
        elif busy:
            watch.soon()
        if watch.stopped() or watch.idle_s() <= self._settings.job_stall_s:
            return True
        watch.stop(Stop.STALLED)
        log.error("range_stalled", job_id=watch.job.id, first=watch.part.first)
        self._avoided.append(watch.job.id)
        self._let_go(watch)
        self.watch = None
        return False

    def stop(self, why: Stop | None) -> None:
        """End the range in work: now, or (None) at the end of its segment."""
        watch = self.watch
        if watch is None:
            return
        if why is None:
            watch.soon()
        else:
            watch.stop(why)

    def give_back(self) -> None:
        """Release what a stuck thread still holds."""
        if self.watch is not None:
            self._let_go(self.watch)
