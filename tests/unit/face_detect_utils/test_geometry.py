"""Where things lie in a face box."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_detect_utils.base import Face
from face_detect_utils.geometry import (
    MAX_ROLL_RAD,
    mouth_of,
    overlap,
    points_from_eyes,
    roll_of,
    rotated,
)


def test_the_mouth_of_an_upright_face_lies_below_its_centre() -> None:
    mouth = mouth_of(100, 100, 80, 0)
    assert mouth.x_px == pytest.approx(100)
    assert mouth.y_px == pytest.approx(121.2)
    assert mouth.width_px == pytest.approx(26.4)


def test_the_mouth_of_a_face_rolled_clockwise_moves_to_the_left() -> None:
    mouth = mouth_of(100, 100, 80, math.radians(30))
    assert mouth.x_px < 100
    assert math.hypot(mouth.x_px - 100, mouth.y_px - 100) == pytest.approx(21.2)


@given(st.floats(-0.5, 0.5), st.floats(30, 300))
def test_points_placed_from_eyes_keep_their_roll(angle: float, width: float) -> None:
    dx, dy = rotated(0.4 * width, 0, angle)
    points = points_from_eyes((10, 20), (10 + dx, 20 + dy), width)
    assert roll_of(points) == pytest.approx(angle, abs=1e-4)
    mouth = points[4] - points[3]
    assert math.atan2(float(mouth[1]), float(mouth[0])) == pytest.approx(angle, abs=1e-3)


def test_roll_is_held_within_bounds() -> None:
    points = np.array([[0, 0], [1, 9], [0, 0], [0, 0], [0, 0]], np.float32)
    assert roll_of(points) == pytest.approx(MAX_ROLL_RAD)


def test_overlap_of_equal_boxes_is_one_and_of_distant_ones_nothing() -> None:
    box = Face(0, 0, 10, 10, 1)
    assert overlap(box, box) == 1
    assert overlap(box, Face(20, 0, 10, 10, 1)) == 0
    assert overlap(box, Face(5, 0, 10, 10, 1)) == pytest.approx(1 / 3)


def test_overlap_of_empty_boxes_is_nothing() -> None:
    assert overlap(Face(0, 0, 0, 0, 1), Face(0, 0, 0, 0, 1)) == 0
