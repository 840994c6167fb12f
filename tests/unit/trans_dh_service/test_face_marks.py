"""Landmarks of faces: found once in the full picture, kept beside the rows, given to backends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from face_detect_utils.base import Image, TrackedFace
from face_detect_utils.landmarks import OnnxLandmarks
from face_detect_utils.track import FaceTracker
from face_detect_utils.yunet import YunetDetector
from models.lipsync.base import LipItem, LipPatch, Pose
from tests.unit.trans_dh_service.books import CountingTracker, Marks, Span, a_book, counting, follow
from tests.unit.trans_dh_service.dubs import a_task
from tests.unit.trans_dh_service.fakes import FakeLane, FakeLips, FakeWatch, fake_tools
from trans_dh_service import faces as faces_module
from trans_dh_service.faces import CHUNK_FRAMES, FaceBook
from trans_dh_service.pipeline import dub

SHARED = Path(__file__).resolve().parents[4] / "shared"


@pytest.fixture(autouse=True)
def tracker(monkeypatch: pytest.MonkeyPatch) -> type[CountingTracker]:
    return counting(monkeypatch)


def test_landmarks_are_found_once_and_kept(tmp_path: Path) -> None:
    marks = Marks()
    book = a_book(tmp_path, 100, landmarks=marks)
    follow(book, CHUNK_FRAMES + 10)
    pose = book.pose(5)
    assert pose is not None
    assert pose.landmarks is not None
    assert pose.landmarks[:2].tolist() == [[6, 2], [7, 3]]
    assert marks.calls == CHUNK_FRAMES + 10
    again = a_book(tmp_path, 100, landmarks=marks)
    assert again.known == CHUNK_FRAMES
    kept = again.pose(5)
    assert kept is not None
    assert kept.landmarks is not None
    assert (kept.landmarks == pose.landmarks).all()
    assert marks.calls == CHUNK_FRAMES + 10


def test_a_resumed_book_has_the_same_numbers(tmp_path: Path) -> None:
    whole = a_book(tmp_path / "a", 100, landmarks=Marks())
    follow(whole, 100)
    follow(a_book(tmp_path / "b", 100, landmarks=Marks()), CHUNK_FRAMES)
    second = a_book(tmp_path / "b", 100, landmarks=Marks())
    follow(second, 100 - CHUNK_FRAMES)
    for index in range(100):
        mine, its = whole.pose(index), second.pose(index)
        assert mine == its
        assert mine is not None
        assert its is not None
        assert np.array_equal(np.asarray(mine.landmarks), np.asarray(its.landmarks))


def test_a_cache_without_landmarks_is_not_taken_for_one_with(tmp_path: Path) -> None:
    plain = a_book(tmp_path, 70)
    follow(plain, 70)
    marked = a_book(tmp_path, 70, landmarks=Marks())
    assert marked.known == 0
    assert marked.folder != plain.folder
    follow(marked, 70)
    with_marks = marked.folder / "rows_000000.npz"
    with_marks.write_bytes((plain.folder / "rows_000000.npz").read_bytes())
    assert a_book(tmp_path, 70, landmarks=Marks()).known == 0


def test_without_a_landmark_model_there_are_none(tmp_path: Path) -> None:
    book = a_book(tmp_path, 20)
    follow(book, 20)
    pose = book.pose(0)
    assert pose is not None
    assert pose.landmarks is None


def test_a_landmark_model_is_shown_the_full_picture_around_the_face(
    tmp_path: Path, tracker: type[CountingTracker]
) -> None:
    """The fake's points are where it is told that the face is, so that they come back in place."""

    class Sizes(Marks):
        shapes: list[tuple[int, ...]] = []

        def points(self, image: Image, faces: Sequence[TrackedFace]) -> np.ndarray:
            self.shapes.append(image.shape)
            return super().points(image, faces)

    landmarks = Sizes()
    book = a_book(tmp_path, 20, landmarks=landmarks)
    image = np.zeros((720, 1280, 3), np.uint8)
    book.follow(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p"))
    pose = book.glimpse(0)
    assert pose is not None
    assert pose.landmarks is not None
    assert pose.landmarks[0].tolist() == [2.0, 4.0]
    assert max(landmarks.shapes[0]) <= 12


def test_a_face_outside_the_picture_has_no_landmarks(
    tmp_path: Path, tracker: type[CountingTracker]
) -> None:
    tracker.jumps = frozenset(range(-50, 0))
    book = a_book(tmp_path, 20, landmarks=Marks())
    follow(book, 1)
    pose = book.glimpse(0)
    assert pose is not None
    assert pose.landmarks is not None
    assert np.isnan(pose.landmarks).all()


class SeeingLips(FakeLips):
    """Lips that want landmarks and keep the poses they are given."""

    wants_landmarks = True

    def __init__(self) -> None:
        super().__init__()
        self.poses: list[Pose] = []

    def render(self, items: Sequence[LipItem]) -> list[LipPatch]:
        self.poses += [item.pose for item in items]
        return super().render(items)


@pytest.mark.parametrize("wants", [True, False])
def test_a_dub_gives_landmarks_to_a_backend_that_wants_them(tmp_path: Path, wants: bool) -> None:
    lips, marks = SeeingLips(), Marks()
    lips.wants_landmarks = wants
    lane = FakeLane(lips)
    tools = replace(fake_tools(lane, tmp_path / "cache"), landmarks=marks)
    try:
        result = dub(a_task(tmp_path, sound_s=0.5), tools, FakeWatch())
    finally:
        lane.close()
    assert result.frames_with_face == len(lips.poses)
    assert all((pose.landmarks is not None) == wants for pose in lips.poses)
    assert all(pose.face is not None for pose in lips.poses)
    assert (marks.calls > 0) == wants


def real_book(folder: Path) -> FaceBook:
    """A book with the networks of the shared folder, which followed thirty real frames."""
    clip, weights = SHARED / "clips" / "person_b.mp4", SHARED / "weights"
    for needed in (clip, weights / "yunet_n_320_320.onnx", weights / "facemesh468_192.onnx"):
        if not needed.is_file():
            pytest.skip(f"{needed} is not there")
    detector = YunetDetector(weights / "yunet_n_320_320.onnx", "cpu")
    landmarks = OnnxLandmarks(weights / "facemesh468_192.onnx", "cpu")
    book = FaceBook(detector, 5, Span(30), folder, landmarks)
    with av.open(str(clip)) as video:
        for frame in video.decode(video=0):
            if book.known == book.frames:
                break
            book.follow(frame.reformat(format="yuv420p"))
    return book


def test_real_landmarks_lie_on_the_real_face(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces_module, "FaceTracker", FaceTracker)
    book = real_book(tmp_path)
    for index in range(book.frames):
        pose = book.pose(index)
        assert pose is not None
        assert pose.face is not None
        assert pose.landmarks is not None
        face, marks = pose.face, pose.landmarks
        width, height = face.right - face.left, face.bottom - face.top
        assert 0.5 < width / height < 1
        assert pose.size_px == pytest.approx(0.89 * height, rel=0.15)
        lips = (marks[48] + marks[54]) / 2
        assert lips == pytest.approx((pose.mouth_x_px, pose.mouth_y_px), abs=0.08 * pose.size_px)
        assert marks[8, 1] == pytest.approx(face.bottom, abs=0.1 * height)
        assert face.top < marks[:, 1].min() < marks[29, 1] < lips[1]
