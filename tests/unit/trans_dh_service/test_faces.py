"""Rows of faces: tracked once, reused, faded where a face comes and goes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from face_detect_utils.base import Image
from face_detect_utils.track import ROW_SIZE, TrackedFace
from tests.unit.trans_dh_service.fakes import FakeDetector
from tests.unit.trans_dh_service.media import frame_image, number_of
from trans_dh_service import faces as faces_module
from trans_dh_service.cache import save_arrays
from trans_dh_service.faces import CHUNK_FRAMES, FaceBook


@dataclass
class Span:
    frames: int
    fps: Fraction = Fraction(25)


class CountingTracker:
    """Sees a face in the frames of `hidden` not; x counts the frames it was given since 0."""

    hidden: frozenset[int] = frozenset()
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
        return TrackedFace(self.count, 2.0, 3.0, 0.1, 5.0, 6.0, 7.0, 0.9)


@pytest.fixture(autouse=True)
def tracker(monkeypatch: pytest.MonkeyPatch) -> type[CountingTracker]:
    kind = type("Fresh", (CountingTracker,), {"updates": 0, "hidden": frozenset()})
    monkeypatch.setattr(faces_module, "FaceTracker", kind)
    return kind


def picture(number: int) -> av.VideoFrame:
    image = frame_image(number % 256)
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")


def a_book(folder: Path, frames: int = 200, fps: Fraction = Fraction(25)) -> FaceBook:
    return FaceBook(FakeDetector(), 5, Span(frames, fps), folder)


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
    for rows in (np.zeros((CHUNK_FRAMES, 3)), np.zeros((5, 8)), np.zeros(4)):
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
