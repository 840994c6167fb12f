"""A job as a value: states, inputs, outcome. What it is not: the table (store.py) or the work
(runner.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """queued → in_progress → completed | failed | cancelled; in_progress → queued when a worker
    ends.
    """

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether the job will never change its state again."""
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class JobRequest:
    """What a client asked for. Paths are absolute; `code` is a HeyGem client's own id.

    `loop` is "pingpong" or "restart" when the recording is longer than the video.
    """

    video_path: str
    audio_path: str
    model: str
    loop: str = "pingpong"
    code: str | None = None
    idempotency_key: str | None = None
    owns_inputs: bool = True
    watermark: bool = False
    restore_face: bool = False


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a stable code and a message for people."""

    code: str
    message: str


@dataclass(frozen=True)
class JobOutcome:
    """What a completed job made."""

    path: str
    seconds: float
    width_px: int
    height_px: int
    bytes: int
    note: str = ""


@dataclass(frozen=True)
class Job:
    """One row. Times are seconds since the epoch; `attempt` is the fencing token of the claim in
    force.
    """

    id: str
    request: JobRequest
    state: JobState
    created_at: float
    progress: int = 0
    stage: str = ""
    attempt: int = 0
    crashes: int = 0
    segments_done: int = 0
    segments_total: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    owner: str | None = None
    lease_until: float | None = None
    seconds: float | None = None
    width_px: int | None = None
    height_px: int | None = None
    outcome: JobOutcome | None = None
    error: JobError | None = None
    note: str = ""
