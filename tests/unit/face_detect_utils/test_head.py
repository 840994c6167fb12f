"""A followed head and the filter that corrects it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from face_detect_utils import head
from face_detect_utils.base import Face
from face_detect_utils.flow import Move
from face_detect_utils.geometry import CASCADE_LAYOUT

SEEN = np.array([[80, 90], [120, 90], [100, 110], [85, 130], [115, 130]], np.float32)
TIGHT = Face(70, 60, 60, 90, 0.9, SEEN, tight=True)
CASCADE = Face(50, 50, 100, 100, 0.8)


def settled(face: Face, times: int) -> head.Head:
    """A head that began at the cascade's face, after so many detections of another."""
    seen = head.begun(CASCADE)
    for _ in range(times):
        seen = head.pulled_whole(head.corrected(seen, face, 3))
    return seen


def test_a_head_comes_back_from_its_numbers() -> None:
    seen = head.corrected(head.begun(TIGHT), CASCADE, 5)
    numbers = head.numbers_of(seen)
    assert len(numbers) == head.HEAD_SIZE
    assert head.head_of(numbers) == seen


def test_a_cascades_face_has_the_layout_of_its_kind_for_ever() -> None:
    seen = settled(replace(CASCADE, x_px=60), 5)
    assert seen.layout == CASCADE_LAYOUT
    assert 100 < seen.x < 110


def test_points_and_edges_are_taken_over_slowly() -> None:
    wanted = head.begun(TIGHT)
    once, often = settled(TIGHT, 1), settled(TIGHT, 40)
    assert CASCADE_LAYOUT.mouth_v < once.layout.mouth_v < wanted.layout.mouth_v
    assert often.layout.mouth_v == pytest.approx(wanted.layout.mouth_v, abs=1e-4)
    assert often.layout.top == pytest.approx(wanted.layout.top, abs=1e-4)
    assert often.width == pytest.approx(wanted.width, abs=1e-2)


def test_a_correction_is_spread_over_the_frames_given() -> None:
    seen = head.corrected(head.begun(CASCADE), replace(CASCADE, x_px=70), 4)
    places = []
    for _ in range(6):
        seen = head.pulled(seen)
        places.append(seen.x)
    assert places == pytest.approx([102.5, 105, 107.5, 110, 110, 110])


def test_a_networks_detection_weighs_more_than_a_cascades() -> None:
    old = replace(head.begun(CASCADE), hits=100.0, angle_hits=100.0)
    moved_by = [
        head.pulled_whole(head.corrected(old, face, 1)).x - old.x
        for face in (replace(CASCADE, x_px=60), Face(80, 55, 60, 90, 0.9, None, tight=True))
    ]
    assert moved_by == pytest.approx([10 * head.SLOW_GAIN, 10 * head.TIGHT_GAIN])


def test_a_turn_of_the_picture_turns_the_head_and_keeps_its_layout() -> None:
    quarter = Move(0.0, 1.0, 300.0, 0.0)
    before = head.begun(TIGHT)
    after = head.moved(before, quarter)
    assert after.angle == pytest.approx(before.angle + math.pi / 2)
    assert (after.x, after.y) == pytest.approx((300 - before.y, before.x))
    assert after.layout == before.layout
    assert after.unseen == 1


def test_its_box_is_a_square_about_its_centre() -> None:
    box = head.square(head.begun(CASCADE))
    assert (box.x_px, box.y_px, box.width_px) == (100, 100, 100)
