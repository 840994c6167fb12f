"""Face books for tests: a tracker that counts, landmarks that spread from the face, short books."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from face_detect_utils.base import Edges, Image, LandmarkModel, TrackedFace
from face_detect_utils.track import ROW_SIZE
from tests.unit.trans_dh_service.fakes import FakeDetector
from tests.unit.trans_dh_service.media import frame_image, number_of
from trans_dh_service import faces as faces_module
from trans_dh_service.faces import FaceBook


@dataclass
class Span:
    frames: int
    fps: Fraction = Fraction(25)


class CountingTracker:
    """Sees a face in the frames of `hidden` not; x counts the frames it was given since 0."""

    hidden: frozenset[int] = frozenset()
    width = 3.0
    jumps: frozenset[int] = frozenset()
    updates = 0

    def __init__(self, detector: FakeDetector, every: int) -> None:
        self.count = 0

    @classmethod
    def resume(
        cls, detector: FakeDetector, every: int, row: np.ndarray, gray: Image
    ) -> CountingTracker:
        tracker = cls(detector, every)
        tracker.count = int(row[0])
        assert number_of(gray) == (tracker.count - 1) % 256
        return tracker

    def row(self) -> np.ndarray:
        return np.full(ROW_SIZE, float(self.count))

    def update(self, gray: Image, bgr: object) -> TrackedFace | None:
        type(self).updates += 1
        self.count += 1
        if self.count - 1 in self.hidden:
            return None
        x = float(self.count + 100 * sum(self.count > jump for jump in self.jumps))
        edges = Edges(x - 1.0, 1.0, x + 1.0, 3.0)
        return TrackedFace(x, 2.0, self.width, 0.1, 5.0, 6.0, 7.0, 0.9, edges)


def counting(monkeypatch: pytest.MonkeyPatch) -> type[CountingTracker]:
    """Put a fresh `CountingTracker` in the place of the real one."""
    kind = type("Fresh", (CountingTracker,), {"updates": 0, "hidden": frozenset()})
    monkeypatch.setattr(faces_module, "FaceTracker", kind)
    return kind


def picture(number: int) -> av.VideoFrame:
    image = frame_image(number % 256)
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")


class Marks(LandmarkModel):
    """68 points whose first is the face's centre, and whose others spread from it."""

    name = "marks"

    def __init__(self) -> None:
        self.calls = 0

    def points(self, image: Image, faces: Sequence[TrackedFace]) -> np.ndarray:
        self.calls += 1
        assert image.ndim == 3
        spread = np.arange(68, dtype=np.float32)[:, None]
        return np.stack([spread + np.array((f.x_px, f.y_px), np.float32) for f in faces])


def a_book(
    folder: Path,
    frames: int = 200,
    fps: Fraction = Fraction(25),
    landmarks: LandmarkModel | None = None,
) -> FaceBook:
    return FaceBook(FakeDetector(), 5, Span(frames, fps), folder, landmarks)


def follow(book: FaceBook, count: int) -> None:
    for _ in range(count):
        book.follow(picture(book.known))
