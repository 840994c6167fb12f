"""Following one face through a video."""

from __future__ import annotations

import math

import numpy as np
import pytest

from face_detect_utils.base import FaceDetector, Image, TrackedFace
from face_detect_utils.haar import HaarDetector
from face_detect_utils.track import LOST_FRAMES, ROW_SIZE, FaceTracker
from tests.unit.face_detect_utils.pictures import Network, Scripted, gray, view


def run(tracker: FaceTracker, pictures: list[Image]) -> list[TrackedFace | None]:
    return [tracker.update(gray(p), lambda p=p: p) for p in pictures]  # type: ignore[misc]


def moving(count: int) -> list[Image]:
    return [
        view(2 + 0.1 * math.sin(i / 9), 6 * math.sin(i / 12), (15 * math.sin(i / 10), i / 4))
        for i in range(count)
    ]


def test_follows_a_moving_face_smoothly() -> None:
    faces = run(FaceTracker(HaarDetector(), 5), moving(60))
    assert all(face is not None for face in faces)
    x = np.array([f.x_px for f in faces if f])
    true = np.array([240 + 15 * math.sin(i / 10) for i in range(60)])
    off = x - true
    assert np.abs(off - np.median(off)).max() < 0.05 * 200
    assert np.abs(np.diff(off)).max() < 0.015 * 200
    turn = np.array(
        [math.degrees(f.angle_rad) - 6 * math.sin(i / 12) for i, f in enumerate(faces) if f]
    )
    assert np.abs(np.diff(turn)).max() < 1.5


def test_a_still_face_does_not_jitter() -> None:
    rng = np.random.default_rng(3)
    still = view(2.0).astype(np.int16)
    noisy = [
        np.clip(still + rng.normal(0, 4, still.shape), 0, 255).astype(np.uint8) for _ in range(60)
    ]
    faces = [f for f in run(FaceTracker(HaarDetector(), 5), noisy) if f]
    assert len(faces) == 60
    settled = np.array([(f.mouth_x_px, f.mouth_y_px) for f in faces[30:]])
    assert settled.std(axis=0).max() < 0.005 * faces[-1].width_px


def test_the_mouth_lies_where_the_mouth_is() -> None:
    face = run(FaceTracker(HaarDetector(), 5), [view(2.0)])[0]
    assert face is not None
    assert face.mouth_x_px == pytest.approx(240, abs=12)
    assert face.mouth_y_px == pytest.approx(180 + 2 * (137 - 114), abs=14)
    assert 0 < face.score <= 1


def test_the_detector_runs_only_now_and_then() -> None:
    detector = Scripted()
    run(FaceTracker(detector, 10), [view(2.0)] * 31)
    assert detector.calls <= 3 + 3


def test_an_empty_picture_is_searched_more_seldom() -> None:
    detector = Scripted(blind=True)
    run(FaceTracker(detector, 4), [view(2.0)] * 17)
    assert detector.calls == 3


def test_without_a_face_there_is_nothing() -> None:
    flat = [np.full((240, 320, 3), 120, np.uint8)] * 12
    assert run(FaceTracker(HaarDetector(), 5), flat) == [None] * 12


def test_a_cut_drops_the_face_at_once_and_finds_the_next() -> None:
    dark = [np.zeros((360, 480, 3), np.uint8)] * 3
    faces = run(FaceTracker(HaarDetector(), 5), [view(2.0)] * 3 + dark + [view(1.5)] * 2)
    assert [f is not None for f in faces] == [True] * 3 + [False] * 3 + [True] * 2
    assert faces[-1] is not None
    assert faces[-1].width_px == pytest.approx(150, rel=0.15)


def test_another_picture_size_starts_anew() -> None:
    tracker = FaceTracker(HaarDetector(), 5)
    faces = run(tracker, [view(2.0), view(1.5, size=(320, 240))])
    assert faces[1] is not None
    assert faces[1].x_px == pytest.approx(160, abs=8)


def test_a_face_that_is_no_longer_detected_is_given_up_after_a_while() -> None:
    detector = Scripted()
    tracker = FaceTracker(detector, 5)
    run(tracker, [view(2.0)] * 12)
    detector.blind = True
    faces = run(tracker, [view(2.0)] * (LOST_FRAMES + 12))
    assert faces[0] is not None
    assert faces[-1] is None


def test_a_single_chance_detection_is_dropped() -> None:
    detector = Scripted()
    tracker = FaceTracker(detector, 3)
    run(tracker, [view(2.0)])
    tracker._track = (
        None
        if tracker._track is None
        else tracker._track.__class__(**{**vars(tracker._track), "hits": 1.0})
    )
    detector.blind = True
    assert run(tracker, [view(2.0)] * 4)[-1] is None


def test_the_largest_face_is_followed_and_not_left_for_another() -> None:
    pair = [
        np.hstack([view(1.2, size=(240, 360)), view(2.0, shift=(i, 0), size=(360, 360))])
        for i in range(15)
    ]
    faces = [f for f in run(FaceTracker(HaarDetector(), 5), pair) if f]
    assert len(faces) == 15
    assert all(f.x_px > 350 for f in faces)


def test_a_face_carried_out_of_the_picture_is_dropped() -> None:
    away = [view(2.0, shift=(22.0 * i, 0)) for i in range(14)]
    assert run(FaceTracker(HaarDetector(), 20), away)[-1] is None


@pytest.mark.parametrize("kind", [HaarDetector, Network])
@pytest.mark.parametrize("at", [1, 13, 20])
def test_resumes_with_the_same_numbers(at: int, kind: type[FaceDetector]) -> None:
    pictures = moving(32)
    whole = run(FaceTracker(kind(), 5), pictures)
    first = FaceTracker(kind(), 5)
    run(first, pictures[:at])
    row = first.row()
    assert row.shape == (ROW_SIZE,)
    second = FaceTracker.resume(kind(), 5, row, gray(pictures[at - 1]))
    assert run(second, pictures[at:]) == whole[at:]


def test_resumes_without_the_last_picture_by_looking_again() -> None:
    pictures = moving(12)
    first = FaceTracker(HaarDetector(), 5)
    run(first, pictures[:6])
    second = FaceTracker.resume(HaarDetector(), 5, first.row(), None)
    face, expected = run(second, pictures[6:7])[0], run(first, pictures[6:7])[0]
    assert face is not None
    assert expected is not None
    assert face.x_px == pytest.approx(expected.x_px, abs=8)


def test_resumes_before_any_frame() -> None:
    row = FaceTracker(HaarDetector(), 5).row()
    tracker = FaceTracker.resume(HaarDetector(), 5, row, None)
    assert run(tracker, [view(2.0)])[0] is not None


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="tracker row"):
        FaceTracker.resume(HaarDetector(), 5, np.zeros(3), None)


def test_detect_every_must_be_positive() -> None:
    with pytest.raises(ValueError, match="detect_every is 0"):
        FaceTracker(HaarDetector(), 0)


def test_the_frames_are_not_kept_by_reference() -> None:
    tracker = FaceTracker(HaarDetector(), 5)
    picture = gray(view(2.0))
    tracker.update(picture, lambda: view(2.0))
    before = tracker.row()
    picture[:] = 0
    face = tracker.update(gray(view(2.0)), lambda: view(2.0))
    assert face is not None
    assert face.x_px == pytest.approx(before[2], abs=0.5)


@pytest.mark.parametrize("pointed", [True, False])
def test_a_networks_face_has_the_box_and_mouth_that_a_cascades_has(pointed: bool) -> None:
    pictures = moving(20)
    networks = run(FaceTracker(Network(pointed), 5), pictures)
    cascades = run(FaceTracker(HaarDetector(), 5), pictures)
    for network, cascade in zip(networks, cascades, strict=True):
        assert network is not None
        assert cascade is not None
        near = pytest.approx(0, abs=0.06 * cascade.width_px)
        assert network.width_px == pytest.approx(cascade.width_px, rel=0.13)
        assert network.mouth_x_px - cascade.mouth_x_px == near
        assert network.mouth_y_px - cascade.mouth_y_px == near
        assert network.edges.bottom_px - cascade.edges.bottom_px == near
        assert network.edges.left_px - cascade.edges.left_px == near


def test_tight_edges_move_with_the_face() -> None:
    faces = run(FaceTracker(Network(), 20), [view(2.0, shift=(2.0 * i, i)) for i in range(10)])
    first, last = faces[0], faces[-1]
    assert first is not None
    assert last is not None
    assert last.edges.left_px - first.edges.left_px == pytest.approx(18, abs=1.5)
    assert last.edges.bottom_px - first.edges.bottom_px == pytest.approx(9, abs=1.5)


def test_a_network_is_given_the_part_of_the_picture_as_it_is() -> None:
    detector = Network()
    run(FaceTracker(detector, 5), [view(1.0)] * 2)
    whole, *parts = detector.shapes
    assert whole == (360, 480, 3)
    assert [shape[0] for shape in parts] == pytest.approx([190 / 0.85, 190 / 1.15], rel=0.13)
