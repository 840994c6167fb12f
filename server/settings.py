"""Settings of the server: the only reader of the environment beside gunicorn.conf.py.

What it is: one frozen object with every setting, its default, its unit and its bounds. What it is
not: a place for logic. Environment names are the field names in capitals. docs/settings.md lists
them all, and a test compares the two.
"""

from __future__ import annotations

import os
import re
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class LogFormat(StrEnum):
    """How log lines look: for people or for collectors."""

    CONSOLE = "console"
    JSON = "json"


class TextDtype(StrEnum):
    """How text models keep their weights; auto is fp32 on a CPU and bf16 on a GPU."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


class GpuConfig(StrEnum):
    """How workers, batches and memory are laid out over the GPUs; server/gpuconfig.py has the
    values.
    """

    AUTO = "auto"
    SINGLE_GPU = "single_gpu"
    MULTI_GPU = "multi_gpu"
    SINGLE_4090D_48GB = "single_4090d_48gb"
    QUAD_4090_24GB = "quad_4090_24gb"
    CUSTOM = "custom"


# Chat templates that need no file; server/http/templates.py holds them.
CHAT_TEMPLATES = ("plain", "chatml")
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class SettingsError(ValueError):
    """A setting has a value that is not allowed; the message names it, its value and what is
    allowed.
    """


Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseSettings):
    """Every setting. Frozen: a change needs a new process."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    # Where the server listens
    host: str = Field("127.0.0.1", description="Address of the main listener; 0.0.0.0 opens it.")
    port: int = Field(8383, ge=0, le=65535, description="Port of the main listener.")
    gunicorn_bind: str | None = Field(
        None,
        description="HOST:PORT, the old name; wins over HOST and PORT.",
    )
    ops_host: str = Field("127.0.0.1", description="Address of the probe and metrics listener.")
    ops_port: int = Field(8384, ge=0, le=65535, description="Its port; 0 switches it off.")
    api_key: str | None = Field(
        None, min_length=8, description="When set, every route but the probes asks for it."
    )

    # Where things lie
    data_dir: Path = Field(Path("data"), description="Folder of uploads, jobs, results, cache.")
    weights_dir: Path = Field(Path("weights"), description="Folder of the user's model files.")
    model_mirrors: str | None = Field(
        None,
        description="Where scripts/download_models.py looks for files, in order: base addresses,"
        " comma-separated; `source` stands for the models' own addresses, by default the last.",
    )
    database_url: str | None = Field(
        None, description="SQLAlchemy URL; default SQLite in DATA_DIR/mouthpiece.db."
    )

    # Logs
    log_format: LogFormat = Field(LogFormat.CONSOLE, description="console or json.")
    log_level: str = Field(
        "info",
        validation_alias=AliasChoices("LOG_LEVEL", "GUNICORN_LOG_LEVEL"),
        description="debug, info, warning, error. GUNICORN_LOG_LEVEL is the old name.",
    )

    # Device and the worker's life
    require_gpu: bool = Field(False, description="Refuse to become ready on a CPU.")
    device: str = Field(
        "auto", pattern="^(auto|cpu|cuda)$", description="auto, cpu or cuda (cuda implies a GPU)."
    )
    device_slots: str | None = Field(
        None,
        description="Comma-separated GPU ids that workers may take, one each; default: all seen."
        " With DEVICE=cpu every name is a place on the CPU.",
    )
    gpu_config: GpuConfig = Field(
        GpuConfig.AUTO,
        description="auto (what the other settings say), single_gpu, multi_gpu (a worker on every"
        " device), single_4090d_48gb (batch 20, 95 % of the memory), quad_4090_24gb (4 workers,"
        " batch 8, 90 %), custom (batch by the device's memory). Settings that are given win.",
    )
    total_batch_size: Positive | None = Field(
        None, description="Frames per batch of all workers together; a multiple of their number."
    )
    gpu_memory_fraction: float | None = Field(
        None, gt=0, le=1, description="Share of the device's memory that torch may take."
    )
    enable_amp: bool = Field(
        True, description="Reduced precision (bf16, fp16, TF32) where a model keeps its accuracy."
    )
    enable_cudnn_benchmark: bool = Field(
        True, description="cuDNN times its kernels at the first call of each shape."
    )
    boot_timeout_s: Seconds = Field(300, description="A worker not ready by then is ended.")
    lease_timeout_s: Seconds = Field(
        120, description="How long a new worker waits for the device of the old one."
    )
    graceful_timeout_s: Seconds = Field(
        30,
        validation_alias=AliasChoices("GRACEFUL_TIMEOUT_S", "GUNICORN_GRACEFUL_TIMEOUT"),
        description="Time for requests and jobs to wind down. GUNICORN_GRACEFUL_TIMEOUT too.",
    )
    gunicorn_max_memory: int = Field(
        0, ge=0, description="MiB of RSS at which the worker is recycled, drained; 0 = never."
    )
    gunicorn_max_jobs: int = Field(
        0, ge=0, description="Finished jobs after which the worker is recycled; 0 = never."
    )

    # Gunicorn (the names of the old guides)
    gunicorn_workers: Positive = Field(
        1, description="Workers: one per device slot. GPU_CONFIG may say more."
    )
    gunicorn_threads: Positive = Field(
        8,
        description="Request threads of a worker; every open stream holds one. TEXT_SLOTS + 8 for"
        " many streams of text.",
    )
    gunicorn_worker_class: str = Field("gthread", description="gthread or gevent.")
    gunicorn_timeout: Positive = Field(
        120, description="Seconds a worker may hold the GIL before it is killed."
    )
    gunicorn_keepalive: int = Field(5, ge=0, description="Seconds an idle connection is kept.")
    gunicorn_max_requests: int = Field(0, ge=0, description="Must stay 0; use the two above.")
    gunicorn_preload: bool = Field(
        False,
        validation_alias=AliasChoices("GUNICORN_PRELOAD", "GUNICORN_PRELOAD_APP"),
        description="Must stay false: CUDA does not survive a fork.",
    )
    gunicorn_backlog: Positive = Field(256, description="Connections that may wait to be accepted.")

    # Limits of what is accepted
    max_upload_bytes: Positive = Field(2 * 1024**3, description="Largest request body.")
    max_video_s: Seconds = Field(1800, description="Longest source video.")
    max_audio_s: Seconds = Field(1800, description="Longest recording.")
    max_pixels: Positive = Field(4096 * 2304, description="Largest picture, width times height.")
    max_fps: Seconds = Field(120, description="Highest frame rate of a source video.")
    max_queued_jobs: Positive = Field(100, description="Queue length before 429.")
    max_event_streams: Positive = Field(4, description="Open SSE streams before 429.")
    min_free_disk_bytes: int = Field(
        256 * 1024**2, ge=0, description="Free space below which new jobs get 507."
    )

    # Jobs
    max_concurrent_jobs: Positive = Field(2, description="Jobs one worker works on at once.")
    keep_results_h: Seconds = Field(168, description="Hours a finished job and its files are kept.")
    job_lease_s: Seconds = Field(30, description="A claim without a heartbeat ends after this.")
    job_stall_s: Seconds = Field(300, description="A job without any progress is retried.")
    max_job_crashes: Positive = Field(
        3, description="Worker deaths without progress before a job fails for good."
    )

    split_min_segments: int = Field(
        30,
        ge=0,
        description="A job with more segments than this is made by several workers at once, when"
        " others are idle; 0 = never.",
    )
    split_range_segments: Positive = Field(
        15, description="Segments that a worker takes of such a job at a time."
    )

    # The pipeline
    lipsync_model: str = Field(
        "viseme", description="Lip-sync model of jobs that name none; GET /v1/models lists all."
    )
    lipsync_models: str | None = Field(
        None,
        description="More lip-sync models that jobs may name, comma-separated, loaded at the start;"
        " auto: all whose files are there. viseme is always among them.",
    )
    face_detector: str = Field(
        "auto",
        pattern="^(auto|haar|yunet|scrfd)$",
        description="Face detector; auto: YuNet or SCRFD where its file is there, else Haar.",
    )
    batch_size_per_gpu: Positive = Field(16, description="Frames per lip-sync batch.")
    detect_every: Positive = Field(5, description="Face detection runs on every k-th frame.")
    segment_s: Seconds = Field(2.0, description="Length of a result segment.")
    x264_preset: str = Field("veryfast", description="libx264 preset.")
    x264_crf: int = Field(20, ge=0, le=51, description="libx264 constant rate factor.")
    encoder_threads: int = Field(0, ge=0, description="Encoder threads; 0 = as many as cores.")
    rest_in_silence: bool = Field(
        True, description="Silent stretches of a recording get a resting mouth, without a network."
    )
    watermark_text: str = Field(
        "AI generated",
        pattern="^[!-~][ -~]{0,59}$",
        description="What the visible mark says, in at most 60 ASCII characters.",
    )

    # Text
    model_checkpoint: Path | None = Field(
        None,
        description="Text model: a nanoGPT or build-nanogpt file or a GPT-2 folder; default the"
        " embedded story model.",
    )
    model_checkpoints: str | None = Field(
        None, description="More text models beside it: NAME=PATH,NAME2=PATH2."
    )
    tokenizer: Path | None = Field(
        None,
        description="Tokenizer of checkpoints that bring none: gpt2.tiktoken, or a folder with"
        " vocab.json and merges.txt.",
    )
    text_dtype: TextDtype = Field(
        TextDtype.AUTO, description="auto, fp32, bf16 or int8; auto is fp32 on a CPU, bf16 on CUDA."
    )
    text_slots: Positive = Field(16, description="Texts that one model writes at once.")
    text_queue: Positive = Field(32, description="Texts that may wait for a slot before 429.")
    text_threads: int = Field(
        0,
        ge=0,
        description="CPU threads of text models; 0 = all cores for a large model while no job runs,"
        " else one.",
    )
    max_prompt_chars: Positive = Field(
        1000, description="Longest prompt of POST /generate, in characters."
    )
    max_new_tokens: Positive = Field(
        500, description="Most new tokens of one text, on every text route."
    )
    chat_template: str | None = Field(
        None,
        description="Turns messages into a prompt: plain, chatml, or a Jinja2 file; without it"
        " /v1/chat/completions is refused.",
    )

    @model_validator(mode="before")
    @classmethod
    def _old_bind(cls, values: dict[str, object]) -> dict[str, object]:
        bind = values.get("gunicorn_bind")
        if not bind:
            return values
        host, _, port = str(bind).rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"GUNICORN_BIND={bind!r}: must be HOST:PORT")
        return {**values, "host": host.strip("[]"), "port": port}

    @field_validator("log_level")
    @classmethod
    def _known_level(cls, value: str) -> str:
        value = value.lower()
        if value not in ("debug", "info", "warning", "error"):
            raise ValueError("must be debug, info, warning or error")
        return value

    @field_validator("data_dir", "weights_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("model_checkpoint", "tokenizer")
    @classmethod
    def _absolute_or_none(cls, value: Path | None) -> Path | None:
        return None if value is None else value.expanduser().absolute()

    @field_validator("model_checkpoints")
    @classmethod
    def _named_paths(cls, value: str | None) -> str | None:
        names = [name for name, _ in split_checkpoints(value)]
        double = {name for name in names if names.count(name) > 1}
        if double:
            raise ValueError(f"two models of one name: {', '.join(sorted(double))}")
        return value

    @field_validator("model_mirrors")
    @classmethod
    def _addresses(cls, value: str | None) -> str | None:
        for part in split_names(value):
            if part != "source" and not part.startswith(("http://", "https://")):
                raise ValueError(f"{part!r} must begin with http:// or https://, or be `source`")
        return value

    @field_validator("chat_template")
    @classmethod
    def _known_template(cls, value: str | None) -> str | None:
        if value is None or value in CHAT_TEMPLATES or Path(value).is_file():
            return value
        raise ValueError(f"must be {', '.join(CHAT_TEMPLATES)} or the path of a Jinja2 file")

    @property
    def bind(self) -> str:
        """HOST:PORT of the main listener, as Gunicorn takes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @cached_property
    def database(self) -> str:
        """SQLAlchemy URL of the job store."""
        return self.database_url or f"sqlite:///{self.data_dir / 'mouthpiece.db'}"


def split_names(value: str | None) -> list[str]:
    """The parts of a comma-separated setting."""
    return [part for text in (value or "").split(",") if (part := text.strip())]


def split_checkpoints(value: str | None) -> list[tuple[str, Path]]:
    """The names and paths of MODEL_CHECKPOINTS, in order.

    Raises:
        ValueError: a part is not NAME=PATH.
    """
    found = []
    for part in split_names(value):
        name, _, path = part.partition("=")
        if not path or not _MODEL_NAME.fullmatch(name):
            raise ValueError(
                f"{part!r} must be NAME=PATH, the name of at most 64 letters, digits, '.', '_', '-'"
            )
        found.append((name, Path(path).expanduser().absolute()))
    return found


def load_settings(**overrides: object) -> Settings:
    """Read the environment once.

    Raises:
        SettingsError: a value is not allowed.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None


def _explain(error: ValidationError) -> str:
    lines = [
        f"{'.'.join(str(part) for part in item['loc']).upper()}={item['input']!r}: {item['msg']}"
        if item["loc"]
        else item["msg"]
        for item in error.errors()
    ]
    return "settings refused:\n  " + "\n  ".join(lines)


def child_environment(**changes: str) -> dict[str, str]:
    """A copy of this process's environment with changes, for starting another program."""
    return {**os.environ, **changes}


def visible_devices() -> str | None:
    """CUDA_VISIBLE_DEVICES as it stands; None when it is not set."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def pin_device(device: str) -> None:
    """Show CUDA only `device` ("" hides every GPU). Works only before anything touches CUDA."""
    os.environ["CUDA_VISIBLE_DEVICES"] = device
