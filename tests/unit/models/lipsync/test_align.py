"""Laying the learned face over a frame."""

from __future__ import annotations

import numpy as np
import pytest

from models.lipsync import align
from models.lipsync.base import Pose
from models.lipsync.plane import to_picture
from tests.unit.models.lipsync.scenes import picture, pose


def shifted(where: Pose, x: float, y: float, size: float = 1.0, turn: float = 0.0) -> Pose:
    return Pose(
        where.x_px,
        where.y_px,
        where.size_px * size,
        where.angle_rad + turn,
        where.mouth_x_px + x,
        where.mouth_y_px + y,
        where.mouth_px,
    )


def off(fit: align.Fit, where: Pose) -> float:
    """Largest distance in pixels between where the fit and the truth put points by the mouth."""
    points = np.array([[-0.15, 0, 1], [0.15, 0, 1], [0, 0.1, 1], [0, -0.1, 1]]).T
    apart = (fit.matrix - to_picture(where))[:2] @ points
    return float(np.hypot(*apart).max())


def test_the_learned_picture_fits_itself() -> None:
    learned = align.template(picture(), pose())
    fit = align.align(learned, picture(), pose())
    assert off(fit, pose()) < 0.05
    assert fit.residual < 0.01
    assert np.abs(fit.colours - learned.colours).max() < 1


@pytest.mark.parametrize(
    ("x", "y", "size", "turn"),
    [(6, 0, 1, 0), (0, -6, 1, 0), (4, 4, 1.04, 0), (0, 3, 0.96, 0.03), (-5, 2, 1.02, -0.03)],
)
def test_an_inexact_pose_is_put_right(x: float, y: float, size: float, turn: float) -> None:
    learned = align.template(picture(), pose())
    where = pose(2.1, 4, 7, -3)
    rough = shifted(where, x, y, size, turn)
    fit = align.align(learned, picture(2.1, 4, 7, -3), rough)
    assert off(fit, where) < 2.0


def test_light_does_not_move_the_fit() -> None:
    learned = align.template(picture(), pose())
    dim = (picture().astype(np.float32) * 0.5 + 20).astype(np.uint8)
    assert off(align.align(learned, dim, shifted(pose(), 4, -3)), pose()) < 1.0


def test_a_changed_mouth_does_not_move_the_fit() -> None:
    learned = align.template(picture(), pose())
    changed = picture().copy()
    x, y = round(pose().mouth_x_px), round(pose().mouth_y_px)
    changed[y + 4 : y + 40, x - 26 : x + 30] = 20
    assert off(align.align(learned, changed, shifted(pose(), 3, 2)), pose()) < 2.0


def test_a_picture_without_a_face_leaves_the_pose_nearly_alone() -> None:
    learned = align.template(picture(), pose())
    flat = np.full_like(picture(), 128)
    fit = align.align(learned, flat, pose())
    assert off(fit, pose()) < 0.08 * pose().size_px


def test_mouth_and_chin_do_not_count() -> None:
    weight = align.still()
    u, v = align.coordinates()
    assert weight[(np.abs(u) < 0.12) & (v > -0.04)].max() < 0.02
    assert weight[v > 0.15].max() == 0
    assert weight[(np.abs(u) < 0.1) & (np.abs(v + 0.2) < 0.04)].min() > 0.9
