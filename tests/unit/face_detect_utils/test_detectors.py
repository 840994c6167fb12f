"""The contract of `FaceDetector`, on every implementation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from face_detect_utils import haar, scrfd, yunet
from face_detect_utils.base import FaceDetector
from tests.unit.face_detect_utils.pictures import astronaut, view

SHARED = Path(__file__).resolve().parents[4] / "shared"
CLIPS, WEIGHTS = SHARED / "clips", SHARED / "weights"


def found(kind: ModuleType) -> FaceDetector:
    """The detector of a user's file; skips where there is none."""
    for folder in (WEIGHTS, Path("weights")):
        if kind.find(folder) is not None:
            detector: FaceDetector = kind.load("cpu", folder)
            return detector
    pytest.skip(f"no file for {kind.__name__} in {WEIGHTS}, weights or resources")


MAKERS: dict[str, Callable[[], FaceDetector]] = {
    "haar": lambda: haar.load("cpu", Path("weights")),
    "yunet": lambda: found(yunet),
    "scrfd": lambda: found(scrfd),
}


@pytest.fixture(params=sorted(MAKERS))
def detector(request: pytest.FixtureRequest) -> FaceDetector:
    return MAKERS[request.param]()


def test_finds_the_face_where_it_is(detector: FaceDetector) -> None:
    (faces,) = detector.detect([astronaut()])
    face = faces[0]
    assert face.x_px + face.width_px / 2 == pytest.approx(226, abs=10)
    assert face.y_px + face.height_px / 2 == pytest.approx(114, abs=12)
    assert 80 < face.width_px < 130
    assert 0 <= face.score <= 1


def test_points_are_eyes_nose_and_mouth_seen_from_left_to_right(detector: FaceDetector) -> None:
    (faces,) = detector.detect([astronaut()])
    points = faces[0].points
    if points is None:
        pytest.skip(f"{detector.name} gives no points")
    assert points.shape == (5, 2)
    right_eye, left_eye, nose, right_mouth, left_mouth = points
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    assert right_mouth[1] == pytest.approx(139, abs=10)


def test_answers_one_list_per_picture_in_order(detector: FaceDetector) -> None:
    empty = np.full((200, 300, 3), 127, np.uint8)
    answer = detector.detect([empty, astronaut(), empty])
    assert [len(faces) > 0 for faces in answer] == [False, True, False]


def test_answers_the_same_for_the_same_picture_alone_or_in_a_batch(detector: FaceDetector) -> None:
    pictures = [view(2.0), view(1.2)]
    together = detector.detect(pictures)
    alone = [detector.detect([picture])[0] for picture in pictures]
    for left, right in zip(together, alone, strict=True):
        assert [(f.x_px, f.y_px, f.width_px, f.score) for f in left] == [
            (f.x_px, f.y_px, f.width_px, f.score) for f in right
        ]


def test_puts_the_largest_face_first(detector: FaceDetector) -> None:
    small, large = view(0.7, size=(240, 360)), view(2.0, size=(360, 360))
    (faces,) = detector.detect([np.hstack([small, large])])
    assert len(faces) >= 2
    assert [f.area_px for f in faces] == sorted((f.area_px for f in faces), reverse=True)
    assert faces[0].x_px > 240


@pytest.mark.parametrize("scale", [0.6, 1.0, 3.0])
def test_finds_small_and_large_faces(detector: FaceDetector, scale: float) -> None:
    (faces,) = detector.detect([view(scale, size=(426, 240) if scale < 1 else (1080, 720))])
    assert any(f.width_px == pytest.approx(100 * scale, rel=0.2) for f in faces)


def test_a_clone_finds_the_same(detector: FaceDetector) -> None:
    twin = detector.clone()
    assert twin is not detector
    (mine,), (its,) = detector.detect([astronaut()]), twin.detect([astronaut()])
    assert [(f.x_px, f.y_px) for f in mine] == [(f.x_px, f.y_px) for f in its]


def test_refuses_what_is_no_picture(detector: FaceDetector) -> None:
    with pytest.raises(ValueError, match="float32"):
        detector.detect([np.zeros((10, 10, 3), np.float32)])


@pytest.mark.parametrize("name", ["person_a", "person_b"])
def test_finds_the_speakers_of_the_real_clips(detector: FaceDetector, name: str) -> None:
    path = CLIPS / f"{name}.mp4"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    import av

    seen = []
    with av.open(str(path)) as video:
        for index, frame in enumerate(video.decode(video=0)):
            if index > 40:
                break
            if index % 20 == 0:
                small = frame.reformat(width=360, height=640, format="bgr24")
                picture = np.asarray(small.to_ndarray(), np.uint8)
                seen.append(bool(detector.detect([picture])[0]))
    assert all(seen)
