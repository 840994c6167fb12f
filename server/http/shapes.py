"""The shapes of answers and queries, as pydantic models; the OpenAPI document is made from them.

What it is not: code that fills them, but for `video_of`. The video's shape is that of OpenAI's
Videos API with additions.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from server.jobs.job import Job, JobState


class ErrorInfo(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorBody(BaseModel):
    """The one error body."""

    error: ErrorInfo


class VideoError(BaseModel):
    """Why a job failed."""

    code: str
    message: str


class Video(BaseModel):
    """A video job."""

    id: str
    object: Literal["video"] = "video"
    model: str
    status: Literal["queued", "in_progress", "completed", "failed", "cancelled"]
    progress: int = Field(ge=0, le=100)
    created_at: int
    completed_at: int | None = None
    expires_at: int | None = None
    seconds: str
    size: str
    error: VideoError | None = None
    queue_position: int | None = Field(None, description="1 is next; null when it does not wait.")
    stage: str = ""
    segments_done: int = 0
    segments_total: int = 0
    note: str = Field("", description="What the client should know, e.g. that no face was found.")


class VideoList(BaseModel):
    """A page of jobs."""

    object: Literal["list"] = "list"
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class VideoDeleted(BaseModel):
    """A job that is no more."""

    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


class VideoPage(BaseModel):
    """Query of the list."""

    after: str | None = Field(None, description="The id after which the page starts.")
    limit: int = Field(20, ge=1, le=100)
    order: Literal["asc", "desc"] = "desc"


class ContentQuery(BaseModel):
    """Query of a download."""

    variant: Literal["video", "thumbnail"] = "video"


class EasyAnswer(BaseModel):
    """HeyGem's envelope."""

    code: int
    success: bool
    msg: str
    data: dict[str, Any]


class EasyQuery(BaseModel):
    """Query of a task."""

    code: str | None = Field(None, description="The code that was submitted.")


class WorkerHealth(BaseModel):
    """How one worker of the server is. `age_s`: how long ago it said so."""

    pid: int
    slot: int
    status: str
    device_name: str
    reason: str
    age_s: float


class Health(BaseModel):
    """How the worker is that answers, and all others of this server."""

    status: Literal["loading", "ready", "draining", "failed"]
    model_loaded: bool
    device: str
    device_name: str
    reason: str
    models: dict[str, str]
    face_detector: str = Field("", description="The one in use; empty before it is loaded.")
    worker_pid: int
    uptime_s: float
    workers: list[WorkerHealth] = Field(description="All workers, by device slot.")


class Checks(BaseModel):
    """What `/health/deep` looks at."""

    model_loaded: bool = Field(description="The default lip-sync model is ready.")
    gpu_available: bool
    database_connected: bool
    disk_space_ok: bool = Field(description="At least MIN_FREE_DISK_BYTES are free.")
    memory_ok: bool = Field(description="Memory is left, and GUNICORN_MAX_MEMORY is kept.")


class DeepHealth(BaseModel):
    """How the worker and what it stands on are."""

    status: Literal["healthy", "unhealthy"]
    phase: str
    checks: Checks
    face_detector: str
    models: dict[str, list[str]] = Field(
        description="Names by status: ready, loading, on demand, not loaded, missing, failed."
    )
    problems: dict[str, str] = Field(
        description="What is wrong, by model or check, and what to do."
    )
    timestamp: int


class Live(BaseModel):
    """The process answers."""

    live: bool


class Ready(BaseModel):
    """Whether work is taken now."""

    ready: bool
    status: str
    reason: str


class TorchMemory(BaseModel):
    """Memory of torch on the device, in GiB."""

    allocated_gb: float
    reserved_gb: float


class GpuStatus(BaseModel):
    """The device, in the words of HeyGem's status route."""

    worker_pid: int
    models_initialized: bool
    cuda_visible_devices: str | None
    nvidia_visible_devices: str | None
    onnx_providers: list[str]
    onnx_cuda_available: bool
    pytorch_cuda_available: bool
    pytorch_gpu_count: int
    pytorch_current_device: int | None
    pytorch_gpu_name: str | None
    pytorch_memory: TorchMemory | None
    device: str
    why: str


class ApiTest(BaseModel):
    """A sign that the API is reached."""

    status: Literal["ok"] = "ok"
    message: str
    phase: str
    endpoints: list[str]


def video_of(job: Job, keep_s: float, position: int | None = None) -> Video:
    """The public shape of a job; `keep_s` is how long it is kept after its end."""
    ended = job.finished_at
    done = job.state is JobState.COMPLETED
    return Video(
        id=job.id,
        model=job.request.model,
        status=job.state.value,
        progress=job.progress,
        created_at=int(job.created_at),
        completed_at=int(ended) if done and ended is not None else None,
        expires_at=int(ended + keep_s) if done and ended is not None else None,
        seconds=f"{job.seconds or 0:.3f}".rstrip("0").rstrip("."),
        size=f"{job.width_px or 0}x{job.height_px or 0}",
        error=VideoError(code=job.error.code, message=job.error.message) if job.error else None,
        queue_position=position,
        stage=job.stage,
        segments_done=job.segments_done,
        segments_total=job.segments_total,
        note=job.note,
    )
