"""Rows of faces: tracked once, reused, faded where a face comes and goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from face_detect_utils.base import Edges, Image, LandmarkModel, TrackedFace
from face_detect_utils.landmarks import OnnxLandmarks
from face_detect_utils.track import ROW_SIZE, FaceTracker
from face_detect_utils.yunet import YunetDetector
from models.lipsync.base import LipItem, LipPatch, Pose, Rect
from tests.unit.trans_dh_service.dubs import a_task
from tests.unit.trans_dh_service.fakes import (
    FakeDetector,
    FakeLane,
    FakeLips,
    FakeWatch,
    fake_tools,
)
from tests.unit.trans_dh_service.media import frame_image, number_of
from trans_dh_service import faces as faces_module
from trans_dh_service.cache import save_arrays
from trans_dh_service.faces import CHUNK_FRAMES, FaceBook
from trans_dh_service.pipeline import dub

SHARED = Path(__file__).resolve().parents[4] / "shared"


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


@pytest.fixture(autouse=True)
def tracker(monkeypatch: pytest.MonkeyPatch) -> type[CountingTracker]:
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


def test_small_faces_are_scaled_to_the_full_picture(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    image = np.zeros((720, 1280, 3), np.uint8)
    book.follow(av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p"))
    pose = book.pose(0)
    assert pose is not None
    assert (pose.x_px, pose.size_px, pose.mouth_px) == (2.0, 6.0, 14.0)
    assert pose.angle_rad == pytest.approx(0.1)


def test_a_second_book_takes_over_what_is_stored(
    tmp_path: Path, tracker: type[CountingTracker]
) -> None:
    follow(a_book(tmp_path), CHUNK_FRAMES + 10)
    again = a_book(tmp_path)
    assert again.known == CHUNK_FRAMES
    follow(again, 10)
    pose = again.pose(CHUNK_FRAMES + 9)
    assert pose is not None
    assert pose.x_px == CHUNK_FRAMES + 10
    assert tracker.updates == CHUNK_FRAMES + 20


def test_a_whole_pass_is_stored_to_the_end(tmp_path: Path) -> None:
    follow(a_book(tmp_path, CHUNK_FRAMES + 5), CHUNK_FRAMES + 5)
    again = a_book(tmp_path, CHUNK_FRAMES + 5)
    assert again.known == CHUNK_FRAMES + 5
    assert again.decided(CHUNK_FRAMES + 4)


@pytest.mark.parametrize("victim", ["state.npz", "rows_000000.npz"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, victim: str) -> None:
    book = a_book(tmp_path)
    follow(book, CHUNK_FRAMES)
    for damage in (b"", b"nonsense", None):
        if damage is None:
            (book.folder / victim).unlink()
        else:
            (book.folder / victim).write_bytes(damage)
        assert a_book(tmp_path).known == 0


def test_a_cache_of_another_shape_is_ignored(tmp_path: Path) -> None:
    book = a_book(tmp_path)
    follow(book, CHUNK_FRAMES)
    gray = np.zeros((4, 4), np.uint8)
    good = {"known": np.array(CHUNK_FRAMES), "row": np.zeros(ROW_SIZE), "gray": gray}
    for state in (
        {"known": np.array(3)},
        {**good, "known": np.array(5000)},
        {**good, "row": np.zeros(3)},
    ):
        save_arrays(book.folder / "state.npz", state)
        assert a_book(tmp_path).known == 0
    save_arrays(book.folder / "state.npz", good)
    for rows in (np.zeros((CHUNK_FRAMES, 3)), np.zeros((5, 12)), np.zeros(4)):
        save_arrays(book.folder / "rows_000000.npz", {"rows": rows})
        assert a_book(tmp_path).known == 0


def test_painting_fades_where_a_face_comes_and_goes(
    tmp_path: Path, tracker: type[CountingTracker]
) -> None:
    tracker.hidden = frozenset(range(40, 60))
    book = a_book(tmp_path, 100)
    follow(book, 100)
    assert book.fade_frames == 4
    assert [book.pose(index) is None for index in (39, 40, 59, 60)] == [False, True, True, False]
    before = [book.gain(index) for index in range(33, 40)]
    after = [book.gain(index) for index in range(60, 67)]
    assert before == pytest.approx([1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    assert after == pytest.approx(before[::-1])
    assert book.gain(0) == book.gain(99) == 1.0
    assert book.with_face([0, 39, 40, 59, 60, 60]) == 4


def test_a_gain_is_decided_once_its_neighbours_are_known(tmp_path: Path) -> None:
    book = a_book(tmp_path, 20)
    follow(book, 10)
    assert book.decided(5)
    assert not book.decided(6)
    follow(book, 10)
    assert book.decided(19)


def test_the_fade_lasts_as_long_at_any_rate(tmp_path: Path) -> None:
    rates = [Fraction(1), Fraction(25), Fraction(50), Fraction(120)]
    assert [a_book(tmp_path, 20, fps).fade_frames for fps in rates] == [2, 4, 8, 8]


def lefts(book: FaceBook, indices: Sequence[int]) -> list[float]:
    """The left edges of the steadied rectangles."""
    poses = [book.pose(index) for index in indices]
    return [pose.face.left for pose in poses if pose is not None and pose.face is not None]


def test_the_tight_rectangle_is_the_mean_of_the_next_five(tmp_path: Path) -> None:
    book = a_book(tmp_path, 20)
    follow(book, 20)
    # Frame i is tracked at i; the last four repeat the mean of the last five, smoothed on the way.
    assert lefts(book, range(17)) == pytest.approx([i + 2 for i in range(16)] + [17.4])
    raw = book.glimpse(3)
    assert raw is not None
    assert raw.face == Rect(3.0, 1.0, 5.0, 3.0)


def test_rectangles_are_not_steadied_over_a_gap_or_a_jump(
    tmp_path: Path, tracker: type[CountingTracker]
) -> None:
    tracker.hidden, tracker.jumps = frozenset({8}), frozenset({15})
    book = a_book(tmp_path, 30)
    follow(book, 30)
    assert max(lefts(book, range(8))) < 7
    assert min(lefts(book, range(9, 15))) > 9
    assert max(lefts(book, range(9, 15))) < 15
    assert min(lefts(book, range(15, 30))) > 115


def test_rectangles_are_final_once_decided(tmp_path: Path) -> None:
    for fps in (Fraction(5), Fraction(25), Fraction(100)):
        book = a_book(tmp_path / str(fps), 20, fps)
        early = {}
        for _ in range(20):
            follow(book, 1)
            early.update({i: book.pose(i) for i in range(20) if i not in early and book.decided(i)})
        assert early == {index: book.pose(index) for index in range(20)}


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


def test_a_book_takes_over_what_another_process_has_learned_since(
    tmp_path: Path, tracker: type[CountingTracker]
) -> None:
    span = Span(3 * CHUNK_FRAMES)
    mine = FaceBook(FakeDetector(), 5, span, tmp_path)
    other = FaceBook(FakeDetector(), 5, span, tmp_path)
    follow(other, 2 * CHUNK_FRAMES + 7)
    other.keep()
    follow(mine, 10)
    tracker.updates = 0
    mine.refresh()
    assert (mine.known, tracker.updates) == (other.known, 0)
    follow(mine, 1)
    assert [mine.glimpse(index) for index in range(other.known)] == [
        other.glimpse(index) for index in range(other.known)
    ]


def test_a_book_that_lags_behind_overwrites_nothing(tmp_path: Path) -> None:
    span = Span(3 * CHUNK_FRAMES)
    late = FaceBook(FakeDetector(), 5, span, tmp_path)
    follow(FaceBook(FakeDetector(), 5, span, tmp_path), 2 * CHUNK_FRAMES)
    follow(late, CHUNK_FRAMES + 3)
    late.keep()
    late.refresh()
    assert late.known == 2 * CHUNK_FRAMES


def test_a_damaged_chunk_is_written_again(tmp_path: Path) -> None:
    span = Span(3 * CHUNK_FRAMES)
    book = FaceBook(FakeDetector(), 5, span, tmp_path)
    follow(book, 2 * CHUNK_FRAMES)
    (book.folder / "rows_000000.npz").write_bytes(b"half")
    again = FaceBook(FakeDetector(), 5, span, tmp_path)
    assert again.known == 0
    follow(again, CHUNK_FRAMES)
    assert FaceBook(FakeDetector(), 5, span, tmp_path).known == CHUNK_FRAMES
