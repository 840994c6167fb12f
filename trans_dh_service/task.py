"""The values that go into and out of one dub: task, tools, watch, result, errors.

What it is not: the work itself (pipeline.py).
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from numpy.typing import NDArray

from face_detect_utils.base import FaceDetector, LandmarkModel
from models.audio.base import SpeechModel
from models.lipsync.base import Image, LipItem, LipPatch, LipSync

if TYPE_CHECKING:
    from trans_dh_service.plan import Share


class Loop(StrEnum):
    """What the video does when the recording is longer: play back and forth, or start again."""

    PINGPONG = "pingpong"
    RESTART = "restart"


class Stage(StrEnum):
    """What a dub is doing; the order is the order of work."""

    PREPARE = "prepare"
    SPEECH = "speech"
    RENDER = "render"
    JOIN = "join"


@dataclass(frozen=True)
class MediaLimits:
    """What is accepted; see the settings of the same names."""

    max_video_s: float = 1800
    max_audio_s: float = 1800
    max_pixels: int = 4096 * 2304
    max_fps: float = 120


class MediaError(ValueError):
    """A file cannot be used. `role` is "video" or "audio"; the message names file, stream, value
    and limit.
    """

    def __init__(self, role: str, message: str) -> None:
        super().__init__(message)
        self.role = role


class StoppedError(Exception):
    """The watch asked the dub to stop; finished segments stay."""


@dataclass(frozen=True)
class Encoding:
    """libx264 settings; `threads` 0 means as many as cores."""

    preset: str = "veryfast"
    crf: int = 20
    threads: int = 0


@dataclass(frozen=True)
class DubTask:
    """One video and one recording. `work_dir` keeps segments between attempts; `output` appears
    whole or not at all. `restore`: sharpen the painted face, where the tools can; `watermark`: the
    text that is drawn on every frame, "" for none. `share` deals out the segments where other
    workers may help.
    """

    video: Path
    audio: Path
    work_dir: Path
    output: Path
    loop: Loop = Loop.PINGPONG
    segment_s: float = 2.0
    detect_every: int = 5
    restore: bool = False
    watermark: str = ""
    share: Share | None = None


@dataclass(frozen=True, eq=False)
class RestTools:
    """What puts the mouth at rest where the sound is silent, in place of a backend that `infers`:
    a cheap backend, the way into its engine, and its feature of a mouth at rest.
    """

    lipsync: LipSync
    submit: Callable[[LipItem], Future[LipPatch]]
    feature: NDArray[Any]


@dataclass(frozen=True)
class RestoreTools:
    """What sharpens a painted face. `name` names the weights; `submit` takes and gives a face
    [`size_px`, `size_px`, 3] BGR in the place that models/restore.py describes; `max_batch` says
    how many are worked on at once.
    """

    name: str
    size_px: int
    max_batch: int
    submit: Callable[[Image], Future[Image]]


@dataclass(frozen=True)
class DubTools:
    """What a dub works with: loaded models, the way into the lane, the cache of learned sources.

    `rest` is used beside a `lipsync` that infers, `restore` by tasks that ask for it, `landmarks`
    by a `lipsync` that wants them.
    """

    detector: FaceDetector
    speech: SpeechModel
    lipsync: LipSync
    submit: Callable[[LipItem], Future[LipPatch]]
    cache_dir: Path
    limits: MediaLimits = MediaLimits()
    encoding: Encoding = Encoding()
    rest: RestTools | None = None
    restore: RestoreTools | None = None
    landmarks: LandmarkModel | None = None


class DubWatch(Protocol):
    """What a dub tells while it works. Called from its threads; must be quick and not raise."""

    def stage(self, stage: Stage) -> None:
        """A stage began."""

    def progress(self, frames_done: int, frames_total: int) -> None:
        """Frames written so far, in finished segments and beyond."""

    def segment(self, index: int, total: int) -> None:
        """Segment `index` (from 0) of `total` is on disk."""

    def wrote(self, frames: int) -> None:
        """So many frames more are on disk, in segments that were made here and now."""

    def stopped(self) -> bool:
        """Whether the dub should end now; asked at every batch."""


@dataclass(frozen=True)
class DubResult:
    """The finished file and what was measured. `stage_s`: busy seconds per part (decode, faces,
    speech, lips, ...). `frames_rested`: frames with a face whose mouth rests, so that no network
    ran for them. `restored`: the faces were sharpened.
    """

    path: Path
    seconds: float
    width_px: int
    height_px: int
    fps: float
    frames: int
    frames_with_face: int
    segments_made: int
    wall_s: float
    stage_s: dict[str, float]
    frames_rested: int = 0
    restored: bool = False
