"""Finding the lips, on a drawn face whose lips are known and on a real one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.lipsync.base import Image, Pose
from models.lipsync.lips import arrays_of, find_lips
from tests.unit.models.lipsync.scenes import picture, pose

POSE = Pose(200, 150, 200, 0.0, 200, 200, 66)
SKIN, LIP, DARK, TEETH = (120, 150, 200), (95, 90, 180), (20, 20, 30), (205, 215, 220)


def drawn(gap_px: int = 0, inside: tuple[int, int, int] = DARK, y: int = 200) -> Image:
    """A plain face with lips 66 px wide whose line lies at y; open by `gap_px`."""
    face = np.full((400, 400, 3), SKIN, np.uint8)
    cv2.ellipse(face, (200, y), (34, 8), 0, 180, 360, LIP, -1)
    cv2.ellipse(face, (200, y), (34, 11 + gap_px), 0, 0, 180, LIP, -1)
    if gap_px:
        cv2.ellipse(face, (200, y), (34, gap_px), 0, 0, 180, inside, -1)
    else:
        cv2.line(face, (168, y), (232, y), (60, 50, 100), 1)
    noise = np.random.default_rng(5).normal(0, 2, face.shape)
    return np.clip(cv2.GaussianBlur(face, (0, 0), 1) + noise, 0, 255).astype(np.uint8)


def test_closed_lips_are_found_and_have_no_gap() -> None:
    lips = find_lips(drawn(), POSE)
    assert lips.gap == 0
    assert lips.x == pytest.approx(0, abs=0.015)
    assert lips.y == pytest.approx(0, abs=0.015)
    assert lips.half == pytest.approx(0.17, abs=0.025)
    assert lips.sure > 0.6
    assert lips.shut > 0.5


@pytest.mark.parametrize("inside", [DARK, TEETH])
@pytest.mark.parametrize("gap_px", [12, 20])
def test_the_gap_of_open_lips_is_measured(inside: tuple[int, int, int], gap_px: int) -> None:
    lips = find_lips(drawn(gap_px, inside), POSE)
    assert lips.gap == pytest.approx(gap_px / 200, abs=0.02)
    assert lips.shut < 0.5


def test_lips_are_found_where_the_pose_is_off() -> None:
    assert find_lips(drawn(y=210), POSE).y == pytest.approx(0.05, abs=0.015)


def test_the_smile_of_a_real_face_is_open_and_full_of_teeth() -> None:
    lips = find_lips(picture(), pose())
    assert 0.03 < lips.gap < 0.1
    assert 0.15 < lips.half < 0.225
    assert lips.shut < 0.3


def test_without_any_lips_the_usual_ones_are_taken() -> None:
    lips = find_lips(np.full((400, 400, 3), SKIN, np.uint8), POSE)
    assert lips.sure < 0.05
    assert abs(lips.x) < 0.05
    assert lips.half == pytest.approx(0.17, abs=0.02)


def test_the_same_picture_gives_the_same_lips() -> None:
    assert find_lips(drawn(12), POSE) == find_lips(drawn(12), POSE)


def test_lips_are_ten_numbers() -> None:
    assert arrays_of(find_lips(drawn(), POSE)).shape == (10,)


@pytest.mark.parametrize("light", [(1.25, 1.0, 0.7), (0.6, 0.9, 1.1), (0.3, 0.3, 0.3)])
def test_lips_are_found_in_coloured_and_in_little_light(light: tuple[float, float, float]) -> None:
    seen = np.clip(drawn(12) * np.array(light), 0, 255).astype(np.uint8)
    lips, usual = find_lips(seen, POSE), find_lips(drawn(12), POSE)
    assert lips.gap == pytest.approx(usual.gap, abs=0.01)
    assert lips.half == pytest.approx(usual.half, abs=0.015)
    assert lips.sure > 0.5
