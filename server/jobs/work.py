"""One attempt at one job: dub, check the file, put it in its place, then say so in the row.

What it is not: threads, claims or the supervisor (runner.py).
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import structlog

from server import metrics
from server.jobs.claims import WORKER_KILLED
from server.jobs.database import StoreError
from server.jobs.files import JobFiles
from server.jobs.job import Job, JobError, JobOutcome, JobState
from server.jobs.patience import insist
from server.jobs.share import Sharing
from server.jobs.store import JobStore
from server.jobs.watch import JobWatch, Stop
from server.settings import Settings
from trans_dh_service.pipeline import dub
from trans_dh_service.probe import probe_audio, probe_video
from trans_dh_service.task import (
    DubResult,
    DubTask,
    DubTools,
    DubWatch,
    Loop,
    MediaError,
    MediaLimits,
    StoppedError,
)

Dub = Callable[[DubTask, DubTools, DubWatch], DubResult]

log = structlog.get_logger(__name__)

# What we made ourselves is not refused for being long or large.
_NO_LIMITS = MediaLimits(1e9, 1e9, 2**31 - 1, 1e5)
# AAC pads a stream to whole frames of 1024 samples, up to 0.13 s at 8 kHz, at both ends.
_STREAMS_APART_S = 0.3
# Known before the first of each: a counter that begins at 1 rises unseen.
_FAILURES = (
    "invalid_video",
    "invalid_audio",
    "model_unavailable",
    "no_space",
    "out_of_memory",
    "internal",
    WORKER_KILLED,
)
NO_FACE = "no face was found in the video: its pictures are unchanged"
NO_RESTORER = "the face was not restored: this server has no restorer (gfpgan*.onnx in WEIGHTS_DIR)"


class OutputError(RuntimeError):
    """The finished file is not what it should be."""


class ModelMissingError(RuntimeError):
    """The job's model is not loaded in this worker."""


class Work:
    """Works on jobs, one call each; used by several threads at once."""

    def __init__(
        self,
        settings: Settings,
        store: JobStore,
        files: JobFiles,
        tools: Callable[[str], DubTools],
    ) -> None:
        self._settings = settings
        self._store = store
        self._files = files
        self._tools = tools
        self.dub: Dub = dub
        self.sharing: Sharing | None = None
        for code in _FAILURES:
            metrics.JOB_FAILURES.labels(code)

    def attempt(self, job: Job, watch: JobWatch) -> bool:
        """Work on a claimed job until it ends in some way. Whether it is final by our doing."""
        try:
            outcome = self._found(job) or self._make(job, watch)
            store_report(self._store, watch)
            return self._complete(job, outcome)
        except StoppedError:
            self._stopped(job, watch)
            return False
        except Exception as error:  # noqa: BLE001 - a job's border: whatever it is ends this job
            return self._fail(job, watch, error)

    def _found(self, job: Job) -> JobOutcome | None:
        """The result of an attempt that was killed between the renaming and the row."""
        path = self._files.result(job.id)
        if not path.is_file():
            return None
        try:
            outcome = inspect_output(path, None)
        except OutputError as error:
            log.warning("old_result_unusable", job_id=job.id, error=str(error))
            path.unlink(missing_ok=True)
            return None
        self._files.publish(path, job)
        return outcome

    def _make(self, job: Job, watch: JobWatch) -> JobOutcome:
        tools = self.tools_for(job)
        task = self.task_of(job)
        share = None if self.sharing is None else self.sharing.of(job, watch)
        self._clear(task.work_dir)
        result = self.dub(replace(task, share=share), tools, watch)
        metrics.FRAMES_RESTED.inc(result.frames_rested)
        for part, busy_s in result.stage_s.items():
            metrics.STAGE_SECONDS.labels(part).inc(busy_s)
        made = inspect_output(result.path, result.seconds)
        if not self._store.held(job):
            raise StoppedError
        path = self._files.publish(result.path, job)
        return replace(made, path=str(path), note=_note(job, result))

    def tools_for(self, job: Job) -> DubTools:
        """What the job's model works with.

        Raises:
            ModelMissingError: this worker has not loaded it.
        """
        try:
            return self._tools(job.request.model)
        except Exception as error:
            raise ModelMissingError(
                f"model {job.request.model!r} cannot be used in this worker: {error}"
            ) from error

    def _clear(self, work_dir: Path) -> None:
        work_dir.mkdir(parents=True, exist_ok=True)
        for old in work_dir.glob("output-*.mp4"):
            old.unlink(missing_ok=True)

    def task_of(self, job: Job) -> DubTask:
        """What the job asks for, as a dub.

        Raises:
            MediaError: an input is gone.
        """
        work_dir = self._files.work_dir(job.id)
        video, audio = Path(job.request.video_path), Path(job.request.audio_path)
        for role, path in (("video", video), ("audio", audio)):
            if not path.is_file():
                raise MediaError(role, f"{role} {path} is no longer there")
        return DubTask(
            video=video,
            audio=audio,
            work_dir=work_dir,
            # Another name for each attempt: one that was given up may still be writing.
            output=work_dir / f"output-{job.attempt}.mp4",
            loop=Loop(job.request.loop),
            segment_s=self._settings.segment_s,
            detect_every=self._settings.detect_every,
            restore=job.request.restore_face,
            watermark=self._settings.watermark_text if job.request.watermark else "",
        )

    def _complete(self, job: Job, outcome: JobOutcome) -> bool:
        if not insist(lambda: self._store.complete(job, outcome)):
            self._lost(job)
            return False
        metrics.JOBS_FINISHED.labels(JobState.COMPLETED.value).inc()
        metrics.JOB_SECONDS.observe(max(0.0, time.time() - job.created_at))
        self._files.discard_inputs(job)
        if job.request.code is not None:
            # HeyGem's clients play no streams: the segments would only be a second copy.
            self._files.discard_work(job.id)
        log.info("job_completed", job_id=job.id, seconds=outcome.seconds, bytes=outcome.bytes)
        return True

    def _stopped(self, job: Job, watch: JobWatch) -> None:
        if watch.why is Stop.DRAIN:
            store_report(self._store, watch)
            insist(lambda: self._store.release(job, note=Stop.DRAIN.value))
            log.info("job_released", job_id=job.id)
        elif watch.why is Stop.STALLED:
            log.warning("stalled_attempt_ended", job_id=job.id)
        else:
            self._lost(job)

    def _lost(self, job: Job) -> None:
        """The claim is gone: cancelled, deleted, or another worker's. Only the first two leave
        files that are ours to remove.
        """
        now = self._store.get(job.id)
        if now is None:
            self._files.remove(job)
        elif now.state.final and now.attempt == job.attempt:
            self._files.remove(now)
        log.info("job_stopped", job_id=job.id, state=now.state.value if now else "deleted")

    def _fail(self, job: Job, watch: JobWatch, error: Exception) -> bool:
        if watch.stopped():
            # Files may vanish under a dub whose job was deleted; what it says then means nothing.
            self._stopped(job, watch)
            return False
        reason = self._explain(job, error)
        store_report(self._store, watch)
        if not insist(lambda: self._store.fail(job, reason)):
            self._lost(job)
            return False
        metrics.JOBS_FINISHED.labels(JobState.FAILED.value).inc()
        metrics.JOB_FAILURES.labels(reason.code).inc()
        self._files.discard_inputs(job)
        self._files.discard_work(job.id)
        return True

    def _explain(self, job: Job, error: Exception) -> JobError:
        if isinstance(error, MediaError):
            log.info("job_refused", job_id=job.id, role=error.role, error=str(error))
            return JobError(f"invalid_{error.role}", str(error))
        if isinstance(error, ModelMissingError):
            log.error("job_without_model", job_id=job.id, error=str(error))
            return JobError("model_unavailable", str(error))
        if any(_is_full_disk(cause) for cause in _chain(error)):
            free = self._files.free_bytes()
            log.error("job_without_space", job_id=job.id, free_bytes=free)
            return JobError(
                "no_space",
                f"the disk of DATA_DIR is full ({free} bytes free): remove results or add space, "
                "then send the job again",
            )
        if any(_is_out_of_memory(cause) for cause in _chain(error)):
            log.error("job_out_of_memory", job_id=job.id, exc_info=error)
            return JobError("out_of_memory", f"there was not enough memory for this job: {error}")
        log.error("job_failed", job_id=job.id, exc_info=error)
        return JobError(
            "internal", f"the server failed to make this video; its log names the job {job.id}"
        )


def _note(job: Job, result: DubResult) -> str:
    """What the client should know of a result; "" for nothing."""
    if not result.frames_with_face:
        return NO_FACE
    return NO_RESTORER if job.request.restore_face and not result.restored else ""


def inspect_output(path: Path, seconds: float | None) -> JobOutcome:
    """Look into a finished file: both streams, equally long, and as long as was planned.

    Raises:
        OutputError: it is not so; the message has the numbers.
    """
    try:
        video = probe_video(path, _NO_LIMITS)
        audio = probe_audio(path, _NO_LIMITS)
    except MediaError as error:
        raise OutputError(f"the finished file {path} cannot be read: {error}") from error
    planned = video.duration_s if seconds is None else seconds
    allowed = _STREAMS_APART_S + 1 / float(video.fps)
    if max(abs(video.duration_s - planned), abs(audio.duration_s - planned)) > allowed:
        raise OutputError(
            f"the finished file {path} has {video.duration_s:.3f} s of video and "
            f"{audio.duration_s:.3f} s of sound; planned were {planned:.3f} s"
        )
    size = path.stat().st_size
    return JobOutcome(str(path), planned, video.width_px, video.height_px, size)


def store_report(store: JobStore, watch: JobWatch) -> bool:
    """Store what is new in a watch. False when the claim is lost; a busy store is tried later."""
    report = watch.take()
    if report is None:
        return True
    try:
        return store.report(watch.job, report)
    except StoreError as error:
        watch.put_back(report)
        log.warning("progress_not_stored", job_id=watch.job.id, error=str(error))
        return True


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it."""
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _is_full_disk(error: BaseException) -> bool:
    # FFmpeg's errors are OSErrors only in part; all carry the number.
    return getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT)


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__
