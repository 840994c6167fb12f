"""Where things lie in a face box."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_detect_utils.base import Face
from face_detect_utils.geometry import (
    CASCADE_LAYOUT,
    MAX_ROLL_RAD,
    Square,
    edges_of,
    layout_of,
    mouth_of,
    overlap,
    points_from_eyes,
    roll_of,
    rotated,
    square_of,
)

SEEN = np.array([[80, 90], [120, 90], [100, 110], [85, 130], [115, 130]], np.float32)
"""Five points of a face whose eyes lie 40 pixels above its mouth."""


def test_the_mouth_of_an_upright_face_lies_below_its_centre() -> None:
    mouth = mouth_of(Square(100, 100, 80), CASCADE_LAYOUT, 0)
    assert mouth.x_px == pytest.approx(100)
    assert mouth.y_px == pytest.approx(121.2)
    assert mouth.width_px == pytest.approx(26.4)


def test_the_mouth_of_a_face_rolled_clockwise_moves_to_the_left() -> None:
    mouth = mouth_of(Square(100, 100, 80), CASCADE_LAYOUT, math.radians(30))
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


def test_a_cascades_box_is_its_own_square_with_tight_edges_by_proportion() -> None:
    face = Face(60, 60, 80, 80, 1)
    box = square_of(face)
    assert box == Square(100, 100, 80)
    edges = edges_of(box, layout_of(face, box, 0))
    assert (edges.left_px, edges.right_px) == pytest.approx((100 - 31.2, 100 + 31.2))
    assert edges.top_px < 60
    assert edges.bottom_px > 140


def test_points_seen_give_a_square_of_the_cascades_meaning() -> None:
    box = square_of(Face(70, 60, 60, 90, 1, SEEN, tight=True))
    assert (box.x_px, box.y_px) == pytest.approx((100, 90 + 0.314 * 40))
    assert box.width_px == pytest.approx(2.55 * 40)


@given(st.floats(-0.5, 0.5))
def test_mouth_and_edges_that_were_seen_come_back_at_any_roll(angle: float) -> None:
    turn = np.array([rotated(x, y, angle) for x, y in SEEN - 100], np.float32) + np.float32(100)
    face = Face(70, 60, 60, 90, 1, turn, tight=True)
    box = square_of(face)
    layout = layout_of(face, box, angle)
    mouth = mouth_of(box, layout, angle)
    assert (mouth.x_px, mouth.y_px) == pytest.approx(
        tuple(v + 100 for v in rotated(0, 31.2, angle)), abs=1e-3
    )
    assert mouth.width_px == pytest.approx(30, abs=1e-3)
    assert layout.mouth_u == pytest.approx(0, abs=1e-4)
    edges = edges_of(box, layout)
    assert (edges.left_px, edges.top_px) == pytest.approx((70, 60))
    assert (edges.right_px, edges.bottom_px) == pytest.approx((130, 150))


def test_a_tight_box_without_points_gives_its_square_by_its_height() -> None:
    face = Face(70, 60, 60, 90, 1, tight=True)
    box = square_of(face)
    assert box == Square(100, 105, 0.89 * 90)
    layout = layout_of(face, box, 0)
    assert layout.mouth_v == CASCADE_LAYOUT.mouth_v
    assert edges_of(box, layout).bottom_px == pytest.approx(150)


def test_points_that_fall_together_still_give_a_box() -> None:
    assert square_of(Face(0, 0, 9, 9, 1, np.zeros((5, 2), np.float32), tight=True)).width_px == 1


def test_all_proportions_of_a_face_agree() -> None:
    """What a cascade's box says of a mouth and what points say of it, for the same face."""
    box = Square(100, 100, 102)
    eyes_y = 100 - 0.314 * 40
    seen = np.array([[80, eyes_y], [120, eyes_y], [0, 0], [84, eyes_y + 40], [116, eyes_y + 40]])
    face = Face(60, 44, 80, 115, 1, seen.astype(np.float32), tight=True)
    by_points = mouth_of(square_of(face), layout_of(face, square_of(face), 0), 0)
    by_box = mouth_of(box, CASCADE_LAYOUT, 0)
    assert by_points.y_px == pytest.approx(by_box.y_px, abs=0.03 * box.width_px)
    assert by_points.width_px == pytest.approx(by_box.width_px, rel=0.1)
