"""Rows of faces: tracked once, reused, faded where a face comes and goes, rectangles steadied."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from face_detect_utils.base import Face, Image
from face_detect_utils.track import ROW_SIZE, FaceTracker
from models.lipsync.base import Rect
from tests.unit.trans_dh_service.books import CountingTracker, Span, a_book, counting, follow
from tests.unit.trans_dh_service.fakes import FakeDetector
from trans_dh_service.cache import save_arrays
from trans_dh_service.faces import CHUNK_FRAMES, FaceBook


@pytest.fixture(autouse=True)
def tracker(monkeypatch: pytest.MonkeyPatch) -> type[CountingTracker]:
    return counting(monkeypatch)


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


@pytest.mark.parametrize("grey", [True, False])
def test_a_detector_is_shown_colours_only_if_it_sees_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grey: bool
) -> None:
    monkeypatch.setattr("trans_dh_service.faces.FaceTracker", FaceTracker)

    class Watching(FakeDetector):
        sees_grey = grey

        def __init__(self, shown: list[int]) -> None:
            super().__init__()
            self.shown = shown

        def detect(self, images: Sequence[Image]) -> list[list[Face]]:
            self.shown += [image.ndim for image in images]
            return super().detect(images)

        def clone(self) -> Watching:
            return Watching(self.shown)

    shown: list[int] = []
    book = FaceBook(Watching(shown), 1, Span(3), tmp_path)
    for _ in range(2):
        book.follow(av.VideoFrame(160, 120, "yuv420p"))
    assert shown
    assert set(shown) == {2 if grey else 3}
