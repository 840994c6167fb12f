"""The face's own plane."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.lipsync.base import Pose
from models.lipsync.plane import as_floats, grid, sampled, to_picture


@given(st.floats(20, 500), st.floats(-0.6, 0.6), st.floats(-1, 1), st.floats(-1, 1))
def test_a_point_of_the_plane_keeps_its_distance_in_face_widths(
    size: float, angle: float, u: float, v: float
) -> None:
    matrix = to_picture(Pose(0, 0, size, angle, 70, 90, 30))
    x, y, _ = matrix @ [u, v, 1]
    assert math.hypot(x - 70, y - 90) == pytest.approx(size * math.hypot(u, v), abs=1e-6)


def test_down_the_face_is_down_and_to_the_left_when_rolled_clockwise() -> None:
    x, y, _ = to_picture(Pose(0, 0, 100, 0.3, 0, 0, 30)) @ [0, 1, 1]
    assert y > 0
    assert x < 0


def test_a_picture_of_the_plane_shows_the_crop_there() -> None:
    crop = np.zeros((100, 120, 3), np.uint8)
    crop[50:, :] = 200
    pose = Pose(60, 40, 80, 0.0, 60, 50, 26)
    shown = sampled(crop, to_picture(pose) @ grid(-0.25, -0.25, 1 / 80), 40, 40)
    assert shown.shape == (40, 40, 3)
    assert shown[:19].max() == 0
    assert shown[21:].min() == 200


def test_shrinking_averages_fine_texture_and_keeps_places() -> None:
    crop = np.zeros((400, 400, 3), np.uint8)
    crop[::2] = 200
    crop[200:] = 250
    shown = sampled(crop, np.diag([10.0, 10.0, 1.0]), 40, 40)
    assert np.ptp(shown[2:18]) <= 2
    assert shown[10, 20, 0] == pytest.approx(100, abs=2)
    assert shown[22:38].min() >= 249


def test_numbers_that_are_float32_are_not_copied() -> None:
    numbers = np.zeros(3, np.float32)
    assert as_floats(numbers) is numbers
