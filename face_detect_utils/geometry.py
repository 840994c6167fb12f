"""Where things lie in a face box: mouth, eyes, roll. Plain arithmetic on floats.

What it is not: a landmark network. The proportions are those of the boxes of OpenCV's frontal face
cascade (alt2); they were measured on frontal clips against a 468-point face mesh (mouth centre at
x 0.47..0.51, y 0.765 ± 0.015 of the box, width 0.33 of it).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from face_detect_utils.base import Face

MOUTH_X = 0.5
MOUTH_Y = 0.765
MOUTH_WIDTH = 0.33
NOSE_DOWN = 0.62
"""From the line of the eyes to that of the mouth, how far down the nose's tip lies."""
MAX_ROLL_RAD = math.radians(35)


@dataclass(frozen=True)
class Mouth:
    """Centre and width of a closed mouth, pixels of the picture the box lies in."""

    x_px: float
    y_px: float
    width_px: float


def mouth_of(x_px: float, y_px: float, width_px: float, angle_rad: float) -> Mouth:
    """The mouth of a face whose box has this centre and width and that is rolled by `angle_rad`
    (positive clockwise in the picture) about the centre.
    """
    dx, dy = rotated((MOUTH_X - 0.5) * width_px, (MOUTH_Y - 0.5) * width_px, angle_rad)
    return Mouth(x_px + dx, y_px + dy, MOUTH_WIDTH * width_px)


def rotated(x: float, y: float, angle_rad: float) -> tuple[float, float]:
    """A vector turned by an angle, clockwise in a picture (whose y axis points down)."""
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    return x * cos - y * sin, x * sin + y * cos


def roll_of(points: NDArray[np.float32]) -> float:
    """Roll in radians, positive clockwise, from a face's points (see `Face.points`), held within
    ±35°.
    """
    right, left = points[0], points[1]
    angle = math.atan2(float(left[1] - right[1]), float(left[0] - right[0]))
    return max(-MAX_ROLL_RAD, min(MAX_ROLL_RAD, angle))


def points_from_eyes(
    right: tuple[float, float], left: tuple[float, float], width_px: float
) -> NDArray[np.float32]:
    """Five points, shape [5, 2], of which only the eyes were seen: nose and mouth corners are
    placed by proportion for a face box of this width.
    """
    angle = math.atan2(left[1] - right[1], left[0] - right[0])
    middle = ((right[0] + left[0]) / 2, (right[1] + left[1]) / 2)
    drop = 0.37 * width_px
    half = MOUTH_WIDTH * width_px / 2
    below = [(0.0, NOSE_DOWN * drop), (-half, drop), (half, drop)]
    turned = [rotated(x, y, angle) for x, y in below]
    rest = [(middle[0] + x, middle[1] + y) for x, y in turned]
    return np.array([right, left, *rest], np.float32)


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes, 0..1."""
    left, top = max(a.x_px, b.x_px), max(a.y_px, b.y_px)
    right = min(a.x_px + a.width_px, b.x_px + b.width_px)
    bottom = min(a.y_px + a.height_px, b.y_px + b.height_px)
    both = max(0.0, right - left) * max(0.0, bottom - top)
    whole = a.area_px + b.area_px - both
    return both / whole if whole > 0 else 0.0
