"""A dub that works without pictures, for tests of the runner."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from server.jobs.files import JobFiles
from server.jobs.job import Job
from server.jobs.runner import JobRunner
from server.jobs.store import JobStore, Submission, new_job_id
from server.settings import Settings
from server.state import WorkerState
from tests.unit.server.clips import make_video
from tests.unit.server.jobs.rows import submission_of
from trans_dh_service.task import DubResult, DubTask, DubTools, DubWatch, Stage, StoppedError

SECONDS = 1.0


def result_of(path: Path, faces: int = 25, restored: bool = False) -> DubResult:
    """What a dub says of a finished file."""
    stages = {"decode": 0.01}
    return DubResult(path, SECONDS, 64, 48, 25.0, 25, faces, 1, 0.1, stages, 4, restored)


class FakeDub:
    """Writes a small real video; `before` runs in the middle, `gate` holds it until it is set."""

    def __init__(self) -> None:
        self.before: Callable[[DubTask, DubWatch], None] = lambda _task, _watch: None
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Event()
        self.tasks: list[DubTask] = []
        self.faces = 25
        self.restores = False

    def __call__(self, task: DubTask, tools: DubTools, watch: DubWatch) -> DubResult:
        self.tasks.append(task)
        for stage in Stage:
            watch.stage(stage)
        watch.segment(0, 2)
        (task.work_dir / "segment").touch()
        self.began.set()
        while not self.gate.wait(0.02):
            if watch.stopped():
                raise StoppedError
        self.before(task, watch)
        make_video(task.output, SECONDS, sound=True)
        return result_of(task.output, self.faces, task.restore and self.restores)


def tools_of(_model: str) -> Any:
    """No tools: the fake dub needs none."""
    return None


def submit_real(store: JobStore, files: JobFiles, **request: Any) -> Job:
    """A queued job whose inputs exist."""
    job_id = new_job_id()
    video, audio = files.upload(job_id, "video", ".mp4"), files.upload(job_id, "audio", ".wav")
    video.touch()
    audio.touch()
    made = submission_of(job_id, **{"video_path": str(video), "audio_path": str(audio), **request})
    return store.submit(Submission(job_id, made.request, job_id, SECONDS, 64, 48), 100).job


def runner_of(
    settings: Settings, store: JobStore, files: JobFiles, dub: Any, **changes: Any
) -> JobRunner:
    """A runner that is not started, with a fake dub."""
    runner = JobRunner(settings, WorkerState(), store, files, tools_of, **changes)
    runner.work.dub = dub
    return runner


def wait_for(what: Callable[[], Any], timeout_s: float = 10.0) -> Any:
    """Wait until `what()` is true; its value."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if value := what():
            return value
        time.sleep(0.01)
    raise AssertionError("it did not come true")
