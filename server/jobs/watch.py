"""What a running job tells, kept in memory until the supervisor stores it.

What it is not: a writer of rows from the dub's threads; those must never wait for a database.
"""

from __future__ import annotations

import threading
import time
from enum import StrEnum

import structlog

from server import metrics
from server.jobs.claims import Report
from server.jobs.job import Job
from trans_dh_service.task import Stage

log = structlog.get_logger(__name__)

# The milestones that HeyGem's clients know: 10 inputs ready, 20 speech ready, 90 frames made.
_AT_STAGE = {Stage.PREPARE: 0, Stage.SPEECH: 10, Stage.RENDER: 20, Stage.JOIN: 90}
_RENDER_FROM, _RENDER_TO = 20, 90


class Stop(StrEnum):
    """Why a dub is asked to end."""

    DRAIN = "the worker ends"
    LOST = "the claim is no longer in force"
    STALLED = "no progress for too long"
    YIELD = "a whole job goes first"


class JobWatch:
    """The `DubWatch` of one attempt. Thread-safe."""

    _whole = True  # a watch of the whole job, which knows the first segment

    def __init__(self, job: Job) -> None:
        self.job = job
        self.why: Stop | None = None
        self._lock = threading.Lock()
        self._stage = ""
        self._progress = job.progress
        self._done = job.segments_done
        self._total = job.segments_total
        self._ahead: set[int] | None = None
        self._new_segment = False
        self._dirty = False
        self._moved_at = time.monotonic()

    def stage(self, stage: Stage) -> None:
        """A stage began."""
        with self._lock:
            self._stage = stage.value
            self._advance(_AT_STAGE[stage])

    def progress(self, frames_done: int, frames_total: int) -> None:
        """Frames written so far."""
        part = frames_done / frames_total if frames_total > 0 else 0.0
        with self._lock:
            self._advance(int(_RENDER_FROM + (_RENDER_TO - _RENDER_FROM) * min(part, 1.0)))

    def segment(self, index: int, total: int) -> None:
        """Segment `index` (from 0) of `total` is on disk."""
        with self._lock:
            self._total = total
            if self._ahead is None:
                self._found(index + 1)
            else:
                self._ahead.add(index)
                self._found(self._done)
            self._advance(0)
        log.info("segment_finished", job_id=self.job.id, index=index, attempt=self.job.attempt)

    def wrote(self, frames: int) -> None:
        """So many frames more are on disk."""
        metrics.FRAMES.inc(frames)

    def count(self, done: int, total: int) -> None:
        """The first `done` segments are on disk, made here or by helpers. From now on segments come
        in any order.
        """
        with self._lock:
            self._total = total
            self._ahead = self._ahead or set()
            before = self._done
            self._found(done)
            if self._done > before:
                self._advance(0)

    def _found(self, done: int) -> None:
        while self._ahead and done in self._ahead:
            done += 1
        if done > self._done:
            if not self._done and self._whole:
                age_s = time.time() - self.job.created_at
                metrics.JOB_FIRST_SEGMENT_SECONDS.observe(max(0.0, age_s))
            self._done = done
            self._new_segment = True

    def stopped(self) -> bool:
        """Whether the dub should end now."""
        return self.why is not None

    def stop(self, why: Stop) -> None:
        """Ask the dub to end; the first reason counts."""
        with self._lock:
            self.why = self.why or why

    def idle_s(self) -> float:
        """Seconds since the job last got on."""
        with self._lock:
            return time.monotonic() - self._moved_at

    def take(self) -> Report | None:
        """What is new since the last call, or None."""
        with self._lock:
            if not self._dirty:
                return None
            report = Report(self._stage, self._progress, self._done, self._total, self._new_segment)
            self._dirty = self._new_segment = False
            return report

    def put_back(self, report: Report) -> None:
        """A report could not be stored: it counts as new again."""
        with self._lock:
            self._dirty = True
            self._new_segment = self._new_segment or report.new_segment

    def _advance(self, progress: int) -> None:
        # Never backwards: an attempt that resumes starts from stage one but shows what is done.
        self._progress = max(self._progress, progress)
        self._moved_at = time.monotonic()
        self._dirty = True
