"""The motion of a face between two frames."""

from __future__ import annotations

import math

import numpy as np
import pytest

from face_detect_utils import flow
from tests.unit.face_detect_utils.pictures import gray, view


def test_tells_shift_turn_and_scale() -> None:
    before, now = gray(view(2.0)), gray(view(2.06, turn_deg=3, shift=(4, -2)))
    points, move = flow.follow(before, now, flow.seed(before, 240, 180, 200))
    assert move is not None
    assert math.hypot(move.a, move.b) == pytest.approx(1.03, abs=0.006)
    assert math.degrees(math.atan2(move.b, move.a)) == pytest.approx(3, abs=0.4)
    x = move.a * 240 - move.b * 180 + move.dx
    y = move.b * 240 + move.a * 180 + move.dy
    assert (x, y) == pytest.approx((244, 178), abs=0.7)
    assert len(points) >= flow.ENOUGH_POINTS


def test_points_lie_above_the_mouth() -> None:
    points = flow.seed(gray(view(2.0)), 240, 180, 200)
    assert 8 <= len(points) <= flow.MAX_POINTS
    assert points[:, 1].max() <= 180 + 0.15 * 200


def test_a_flat_picture_has_no_points() -> None:
    assert len(flow.seed(np.full((200, 200), 90, np.uint8), 100, 100, 80)) == 0


def test_a_face_at_the_very_border_has_no_points() -> None:
    assert len(flow.seed(gray(view(2.0)), -200, 100, 80)) == 0


def test_too_few_points_tell_nothing() -> None:
    picture = gray(view(2.0))
    points, move = flow.follow(picture, picture, flow.NO_POINTS)
    assert move is None
    assert len(points) == 0


def test_another_scene_tells_nothing() -> None:
    before = gray(view(2.0))
    noise = np.random.default_rng(1).integers(0, 255, before.shape).astype(np.uint8)
    _, move = flow.follow(before, noise, flow.seed(before, 240, 180, 200))
    assert move is None


def test_a_jump_in_size_is_not_believed() -> None:
    old = flow.seed(gray(view(2.0)), 240, 180, 200)
    assert flow._fitted(old, (old * 1.5).astype(np.float32), len(old))[1] is None


def test_points_that_all_fall_together_are_not_believed() -> None:
    old = flow.seed(gray(view(2.0)), 240, 180, 200)
    assert flow._fitted(old, np.zeros_like(old), len(old))[1] is None
