"""Hand-written models for tests of the pipeline: a detector, a speech model, lips, a watch.

What it is not: good at anything. The lips paint one colour whose brightness is the loudness.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from face_detect_utils.base import Edges, Face, FaceDetector, Image, TrackedFace
from face_detect_utils.track import ROW_SIZE
from models.audio.base import SAMPLE_RATE_HZ, SpeechModel
from models.lipsync.base import Box, FaceSample, LipItem, LipPatch, LipSync, Pose
from trans_dh_service.task import DubTools, Encoding, Stage

FACE = Face(60.0, 50.0, 40.0, 40.0, 0.9)
"""Where the fake detector sees a face in every picture."""
PATCH_PX = 16


class FakeDetector(FaceDetector):
    """Sees one face at a fixed place, or none."""

    name = "fake-faces"

    def __init__(self, seen: bool = True) -> None:
        self.seen = seen

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        return [[FACE] if self.seen else [] for _ in images]

    def clone(self) -> FakeDetector:
        return FakeDetector(self.seen)


class SteadyTracker:
    """In place of `FaceTracker`: the detector's face in every frame, where it is."""

    def __init__(self, detector: FaceDetector, detect_every: int) -> None:
        self._detector = detector

    @classmethod
    def resume(
        cls, detector: FaceDetector, every: int, row: NDArray[np.float64], gray: Image
    ) -> SteadyTracker:
        return cls(detector, every)

    def row(self) -> NDArray[np.float64]:
        return np.zeros(ROW_SIZE)

    def update(self, gray: Image, bgr: Callable[[], Image]) -> TrackedFace | None:
        for face in self._detector.detect([bgr()])[0]:
            x, y = face.x_px + face.width_px / 2, face.y_px + face.height_px / 2
            edges = Edges(x - 16, y - 22, x + 16, y + 23)
            return TrackedFace(x, y, face.width_px, 0.0, x, y + 10, 14.0, face.score, edges)
        return None


class FakeSpeech(SpeechModel):
    """The loudness of the 20 ms around a time."""

    name = "fake-speech"
    before_s = 0.2
    after_s = 0.1

    def features(
        self, samples: NDArray[np.float32], start_s: float, times_s: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        assert start_s <= times_s[0] - self.before_s
        assert start_s + len(samples) / SAMPLE_RATE_HZ >= times_s[-1] + self.after_s
        loud = []
        for at in times_s:
            middle = round((at - start_s) * SAMPLE_RATE_HZ)
            loud.append(np.abs(samples[middle - 160 : middle + 160]).mean())
        return np.array(loud, np.float32)[:, None]


class FakeLips(LipSync):
    """Paints a square at the mouth, as bright as the feature says."""

    name = "fake-lips"
    speech = "fake-speech"
    max_batch = 4

    def __init__(self) -> None:
        self.learned = 0

    def crop_box(self, pose: Pose) -> Box:
        return Box(int(pose.mouth_x_px) - 20, int(pose.mouth_y_px) - 20, 40, 40)

    def learn(self, samples: Sequence[FaceSample]) -> Any:
        assert samples
        self.learned += 1
        return np.array([len(samples)])

    def dump(self, source: Any) -> dict[str, NDArray[Any]]:
        return {"samples": source}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> Any:
        return arrays["samples"]

    def render(self, items: Sequence[LipItem]) -> list[LipPatch]:
        return [self._one(item) for item in items]

    def _one(self, item: LipItem) -> LipPatch:
        value = int(40 + min(1.0, 4 * float(item.feature[0])) * 160)
        image = np.full((PATCH_PX, PATCH_PX, 3), value, np.uint8)
        x = int(item.pose.mouth_x_px) - PATCH_PX // 2
        y = int(item.pose.mouth_y_px) - PATCH_PX // 2
        return LipPatch(image, np.ones((PATCH_PX, PATCH_PX), np.float32), x, y)


@dataclass
class FakeWatch:
    """Remembers what it is told; stops when `stop` says so."""

    stop: Callable[[FakeWatch], bool] = lambda watch: False
    stages: list[Stage] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    frames: int = 0

    def stage(self, stage: Stage) -> None:
        self.stages.append(stage)

    def progress(self, frames_done: int, frames_total: int) -> None:
        assert 0 <= frames_done <= frames_total
        self.done.append(frames_done)

    def segment(self, index: int, total: int) -> None:
        assert 0 <= index < total
        self.segments.append(index)

    def wrote(self, frames: int) -> None:
        self.frames += frames

    def stopped(self) -> bool:
        return self.stop(self)


class FakeLane:
    """One thread that renders; `break_at` makes the n-th item fail."""

    def __init__(self, lips: LipSync, break_at: int | None = None, slow_s: float = 0.0) -> None:
        self.lips, self.break_at, self.slow_s = lips, break_at, slow_s
        self.seen = 0
        self._pool = ThreadPoolExecutor(1)

    def submit(self, item: LipItem) -> Future[LipPatch]:
        return self._pool.submit(self._run, item)

    def _run(self, item: LipItem) -> LipPatch:
        self.seen += 1
        time.sleep(self.slow_s)
        if self.seen == self.break_at:
            raise RuntimeError("the lane broke")
        return self.lips.render([item])[0]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def fake_tools(lane: FakeLane, cache_dir: Path, seen: bool = True) -> DubTools:
    """Tools around a lane."""
    encoding = Encoding(preset="ultrafast", crf=12, threads=1)
    return DubTools(
        FakeDetector(seen), FakeSpeech(), lane.lips, lane.submit, cache_dir, encoding=encoding
    )


def dub_threads() -> list[str]:
    """Names of threads that a dub has left behind."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dub-")]
