"""Real speakers' lips follow a known opening instead of their own words, by an independent measure.

Needs the shared clips and the shared yardstick beside the repository; skips with a reason without.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks import follow
from face_detect_utils.base import Image
from face_detect_utils.haar import HaarDetector
from face_detect_utils.track import FaceTracker
from models.lipsync.base import FaceSample, LipItem, LipPatch, Pose
from models.lipsync.viseme import VisemeLips

SHARED = Path(__file__).resolve().parents[3] / "shared"
FRAMES, DRIVEN = 100, 36


@pytest.fixture(scope="module")
def yardstick() -> ModuleType:
    path = SHARED / "measure" / "lips.py"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    return follow.yardstick()


class Clip:
    """The first frames of a clip, their poses, and the learned face."""

    def __init__(self, path: Path) -> None:
        self.lips = VisemeLips()
        self.frames: list[Image] = []
        self.poses: list[Pose] = []
        tracker = FaceTracker(HaarDetector(), 5)
        samples = []
        with av.open(str(path)) as video:
            for index, frame in enumerate(video.decode(video=0)):
                if index == FRAMES:
                    break
                picture = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
                pose = self._pose(tracker, picture)
                if index % 8 == 0:
                    crop, inside = self._cut(picture, pose)
                    samples.append(FaceSample(crop, inside, index / 25))
                if index >= FRAMES - DRIVEN:
                    self.frames.append(picture)
                    self.poses.append(pose)
        self.source = self.lips.learn(samples)

    def _pose(self, tracker: FaceTracker, picture: Image) -> Pose:
        k = max(picture.shape) / 640
        size = (round(picture.shape[1] / k), round(picture.shape[0] / k))
        small = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        gray = np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)
        face = tracker.update(gray, lambda: small)
        assert face is not None
        x, y, mouth = face.mouth_x_px * k, face.mouth_y_px * k, face.mouth_px * k
        return Pose(face.x_px * k, face.y_px * k, face.width_px * k, face.angle_rad, x, y, mouth)

    def _cut(self, picture: Image, pose: Pose) -> tuple[Image, Pose]:
        box = self.lips.crop_box(pose)
        part = picture[box.y : box.y + box.height, box.x : box.x + box.width]
        return part, pose.moved(-box.x, -box.y)

    def spoken(self, index: int, opening: float) -> Image:
        """One frame with its lips opened so far."""
        picture, pose = self.frames[index].copy(), self.poses[index]
        crop, inside = self._cut(picture, pose)
        feature = np.array([opening, 0, 0, opening / 2, 0], np.float32)
        (patch,) = self.lips.render([LipItem(crop, inside, feature, self.source)])
        _paste(crop, patch)
        return picture


def _paste(crop: Image, patch: LipPatch) -> None:
    height, width = patch.weight.shape
    view = crop[patch.y : patch.y + height, patch.x : patch.x + width]
    view[:] = np.rint(view + patch.weight[..., None] * (patch.image - view.astype(np.float32)))


def _measured(yardstick: ModuleType, pictures: list[Image]) -> NDArray[np.float64]:
    gauge = yardstick.LipGauge()
    return np.array([gauge.opening(picture) for picture in pictures])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["person_a", "person_b"])
def test_the_lips_follow_the_drive_and_rest_without_it(yardstick: ModuleType, name: str) -> None:
    path = SHARED / "clips" / f"{name}.mp4"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    clip = Clip(path)
    drive = np.clip(0.3 - 0.4 * np.cos(np.arange(DRIVEN) / 2.5), 0, 1)
    speaking = _measured(yardstick, [clip.spoken(i, float(o)) for i, o in enumerate(drive)])
    resting = _measured(yardstick, [clip.spoken(i, 0.0) for i in range(0, DRIVEN, 3)])
    follows = [np.corrcoef(np.roll(drive, lag)[3:-3], speaking[3:-3])[0, 1] for lag in range(-2, 3)]
    assert follows[2] >= 0.85
    assert int(np.argmax(follows)) - 2 in (-1, 0, 1)
    assert resting.std() < 0.35 * speaking.std()
    assert resting.mean() < 0.05
