"""The runner: native threads that claim jobs and work on them, and one that watches over them.

What it is not: the work itself (work.py) or the device (models/lane.py). Never meets server.http:
both only know rows.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from functools import partial

import structlog

from server import metrics
from server.jobs.claims import Owner
from server.jobs.database import StoreError
from server.jobs.files import JobFiles
from server.jobs.helper import Helper, RangeWatch
from server.jobs.job import Job
from server.jobs.share import Sharing
from server.jobs.store import JobStore
from server.jobs.sweep import sweep
from server.jobs.watch import JobWatch, Stop
from server.jobs.work import Work, store_report
from server.settings import Settings
from server.state import WorkerState
from trans_dh_service.task import DubTools

log = structlog.get_logger(__name__)

# A job is started this long after it was queued by another process; by this one, at once.
_POLL_S = 0.5
# Progress in the row is at most this old, and a cancelled job is noticed this late.
_TICK_S = 0.25
_RECOVER_EVERY_S = 5.0
_SWEEP_EVERY_S = 600.0
# Decoding and encoding take what is left of the processors: requests and probes come first.
_JOB_NICE = 5


class JobRunner:
    """Works on jobs until it is drained."""

    def __init__(
        self,
        settings: Settings,
        state: WorkerState,
        store: JobStore,
        files: JobFiles,
        tools: Callable[[str], DubTools],
    ) -> None:
        self._settings = settings
        self._store = store
        self._files = files
        self.work = Work(settings, store, files, tools)
        self.owner = Owner(socket.gethostname(), state.device.slot, state.pid, state.started_at)
        self.work.sharing = Sharing(settings, store, self.owner)
        self.helper = Helper(settings, store, files, self.work, self.owner)
        self._lock = threading.Lock()
        self._watches: dict[str, JobWatch] = {}
        self._workers: list[threading.Thread] = []
        self._closing = threading.Event()
        self._ended = threading.Event()
        self._supervisor = threading.Thread(
            target=self._supervise, name="job-supervisor", daemon=True
        )
        self._finished = 0

    @property
    def running(self) -> int:
        """Jobs in work now."""
        with self._lock:
            return len(self._watches)

    @property
    def finished(self) -> int:
        """Jobs that this runner completed or failed."""
        return self._finished

    def start(self) -> None:
        """Take back what dead workers left, then begin to claim.

        Raises:
            StoreError: the store cannot be used.
        """
        self._files.make()
        self._recover()
        self._supervisor.start()
        for _ in range(self._settings.max_concurrent_jobs):
            self._add_worker()

    def drain(self, timeout_s: float) -> None:
        """Claim no more; running jobs stop at the next batch and go back to the queue unblamed."""
        self._close(Stop.DRAIN, timeout_s)

    def finish_and_stop(self, timeout_s: float) -> None:
        """Claim no more and let the running jobs finish; what lasts longer is drained."""
        self._close(None, timeout_s)
        if self.running:
            self.drain(min(timeout_s, self._settings.graceful_timeout_s))

    def _close(self, why: Stop | None, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        self._closing.set()
        self._store.changed.set()
        if why is not None:
            for watch in self._all():
                watch.stop(why)
        self.helper.stop(why)
        self._join(deadline)
        if why is not None or not self.running:
            self._end()

    def _join(self, deadline: float) -> None:
        with self._lock:
            workers = list(self._workers)
        for worker in workers:
            if worker is not threading.current_thread() and worker.is_alive():
                worker.join(max(0.0, deadline - time.monotonic()))

    def _end(self) -> None:
        """Stop the supervisor; give back what a stuck thread still holds."""
        for watch in self._all():
            self._try(partial(self._store.release, watch.job, Stop.DRAIN.value))
        self.helper.give_back()
        self._ended.set()
        if self._supervisor.is_alive() and self._supervisor is not threading.current_thread():
            self._supervisor.join(_TICK_S * 8)

    def _all(self) -> list[JobWatch]:
        with self._lock:
            return list(self._watches.values())

    def _add_worker(self) -> None:
        worker = threading.Thread(target=self._claim_and_work, name="job", daemon=True)
        with self._lock:
            self._workers.append(worker)
        worker.start()

    def _claim_and_work(self) -> None:
        """The life of a worker thread: it ends with the runner, or when its job was given up."""
        # On Linux niceness is a thread's own, and the threads that it starts inherit it.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _JOB_NICE)
        while not self._closing.is_set():
            job = self._claim()
            if job is not None:
                go_on = self._work_on(job)
            elif (part := self._help_with()) is not None:
                go_on = self._help(part)
            else:
                self._store.changed.wait(_POLL_S)
                self._store.changed.clear()
                continue
            if not go_on:
                return

    def _help_with(self) -> RangeWatch | None:
        """A range of another worker's job, where this one has nothing to do."""
        sharing = self.work.sharing
        if sharing is None or not sharing.wanted or self.running:
            return None
        return self.helper.find()

    def _help(self, watch: RangeWatch) -> bool:
        """Whether the thread may take something else."""
        if self._closing.is_set():
            watch.stop(Stop.DRAIN)
        with structlog.contextvars.bound_contextvars(job_id=watch.job.id):
            return self.helper.run(watch)

    def _claim(self) -> Job | None:
        try:
            return self._store.claim(self.owner, self._settings.job_lease_s)
        except StoreError as error:
            log.error("claim_failed", error=str(error))
            return None

    def _work_on(self, job: Job) -> bool:
        """Whether the thread may take another job."""
        watch = JobWatch(job)
        with self._lock:
            self._watches[job.id] = watch
        if self._closing.is_set():
            watch.stop(Stop.DRAIN)
        with structlog.contextvars.bound_contextvars(job_id=job.id):
            if job.attempt == 1:
                metrics.JOB_WAIT_SECONDS.observe(max(0.0, time.time() - job.created_at))
            log.info("job_started", attempt=job.attempt, crashes=job.crashes)
            try:
                final = self.work.attempt(job, watch)
            except Exception as error:  # the thread outlives a broken store
                log.error("job_left_to_its_lease", exc_info=error)
                final = False
        self._forget(watch)
        if final:
            self._count()
        return watch.why is not Stop.STALLED

    def _forget(self, watch: JobWatch) -> None:
        with self._lock:
            if self._watches.get(watch.job.id) is watch:
                del self._watches[watch.job.id]

    def _count(self) -> None:
        with self._lock:
            self._finished += 1

    def _supervise(self) -> None:
        beat_at = recover_at = sweep_at = 0.0
        while not self._ended.wait(_TICK_S):
            now = time.monotonic()
            beat = now >= beat_at
            alive = [self._tend(watch, beat=beat) for watch in self._all()]
            alive.append(self._tend_helper(beat=beat))
            if beat and all(alive):
                beat_at = now + self._settings.job_lease_s / 4
            if now >= recover_at and all(alive):
                recover_at = now + _RECOVER_EVERY_S
                self._try(self._recover)
            if now >= sweep_at:
                sweep_at = now + _SWEEP_EVERY_S
                self._try(self._sweep)

    def _tend(self, watch: JobWatch, *, beat: bool) -> bool:
        """Store a job's news, look whether its claim holds, and whether it gets on. False when the
        store could not be asked.
        """
        try:
            held = store_report(self._store, watch) and (
                self._store.heartbeat(watch.job, self._settings.job_lease_s)
                if beat
                else self._store.held(watch.job)
            )
        except Exception as error:  # noqa: BLE001 - the supervisor outlives a broken store
            log.error("heartbeat_failed", job_id=watch.job.id, error=str(error))
            return False
        if not held:
            watch.stop(Stop.LOST)
        elif not watch.stopped() and watch.idle_s() > self._settings.job_stall_s:
            self._try(lambda: self._give_up(watch))
        return True

    def _tend_helper(self, *, beat: bool) -> bool:
        """The same for the range that this worker helps with."""
        if self.helper.watch is None:
            return True
        try:
            busy = self.running > 0 or self._store.anything_queued()
            if not self.helper.tend(beat=beat, busy=busy) and not self._closing.is_set():
                self._add_worker()
        except Exception as error:  # noqa: BLE001 - the supervisor outlives a broken store
            log.error("heartbeat_failed", error=str(error))
            return False
        return True

    def _give_up(self, watch: JobWatch) -> None:
        """A job hangs: its thread cannot be ended, so it is left behind and replaced."""
        watch.stop(Stop.STALLED)
        reason = f"no progress for JOB_STALL_S={self._settings.job_stall_s:g} s"
        after = self._store.give_up(watch.job, reason)
        log.error("job_stalled", job_id=watch.job.id, state=after.state.value if after else None)
        self._forget(watch)
        if after is not None:
            self._settle(after)
        if not self._closing.is_set():
            self._add_worker()

    def _recover(self) -> None:
        self._store.ranges.recover(self.owner)
        for job in self._store.recover(self.owner):
            log.warning("job_recovered", job_id=job.id, state=job.state.value, crashes=job.crashes)
            self._settle(job)

    def _settle(self, job: Job) -> None:
        """After a crash was counted: wake a worker, or clear up where it was the last one."""
        if job.state.final:
            metrics.JOBS_FINISHED.labels(job.state.value).inc()
            metrics.JOB_FAILURES.labels(job.error.code if job.error else "none").inc()
            self._files.discard_inputs(job)
            self._files.discard_work(job.id)
        else:
            self._store.changed.set()

    def _sweep(self) -> None:
        removed = sweep(self._store, self._files, self._settings.keep_results_h * 3600)
        if removed:
            log.info("jobs_swept", removed=removed)

    def _try(self, call: Callable[[], object]) -> None:
        try:
            call()
        except Exception as error:  # the supervisor outlives one bad round
            log.error("supervisor_failed", exc_info=error)
