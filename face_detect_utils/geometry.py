"""Where things lie on a face: mouth, eyes, roll, edges. Plain arithmetic on floats.

What it is not: a landmark network. The proportions are those of the boxes of OpenCV's frontal face
cascade (alt2); they were measured on frontal clips against a 468-point face mesh (mouth centre at
x 0.47..0.51, y 0.765 ± 0.015 of the box, width 0.33 of it). All detections are brought to such a
square box, since what follows it (the viseme backend's plane, the flow's points) is measured in
its widths. The proportions of tight boxes and of five points to it were measured with YuNet on
seven speakers, 280 frames; what is given as ± is the spread between the speakers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from face_detect_utils.base import Edges, Face

MOUTH_X = 0.5
MOUTH_Y = 0.765
MOUTH_WIDTH = 0.33
NOSE_DOWN = 0.62
"""From the line of the eyes to that of the mouth, how far down the nose's tip lies."""
MAX_ROLL_RAD = math.radians(35)
WIDTH_PER_DROP = 2.55
"""Width of the cascade's box by the distance from the middle of the eyes to that of the mouth's
corners: ± 0.16."""
CENTRE_DROP = 0.314
"""How far down that distance the box's centre lies: ± 0.015."""
LIPS_DROP = 1.03
"""And the middle of closed lips: networks of five points put the mouth's corners above those of the
face mesh, by 0.03 of the distance on average over four followed speakers (-0.01 to 0.09)."""
WIDTH_PER_HEIGHT = 0.89
"""Width of the cascade's box by the height of the tight box, ± 0.06; the centres agree to 0.02."""
TIGHT_SIDE, TIGHT_TOP, TIGHT_BOTTOM = 0.39, 0.55, 0.58
"""Edges of the tight box from the centre of the cascade's, in its widths: ± 0.03, 0.04, 0.04."""


@dataclass(frozen=True)
class Mouth:
    """Centre and width of a closed mouth, pixels of the picture the box lies in."""

    x_px: float
    y_px: float
    width_px: float


@dataclass(frozen=True)
class Square:
    """Centre and width of a cascade's box, or of one with the same meaning, in pixels."""

    x_px: float
    y_px: float
    width_px: float


@dataclass(frozen=True)
class Layout:
    """What lies where on a face, from the centre of its square box and in its widths: the mouth
    (`u` along the eyes to the picture's right, `v` down the face), its width at rest, and the edges
    of the tight box (upright, whatever the roll).
    """

    mouth_u: float
    mouth_v: float
    mouth_width: float
    left: float
    top: float
    right: float
    bottom: float


CASCADE_LAYOUT = Layout(
    MOUTH_X - 0.5, MOUTH_Y - 0.5, MOUTH_WIDTH, -TIGHT_SIDE, -TIGHT_TOP, TIGHT_SIDE, TIGHT_BOTTOM
)


def square_of(face: Face) -> Square:
    """The square box of any detection: a cascade's own, else by the points, else by the box."""
    if not face.tight:
        x, y = face.x_px + face.width_px / 2, face.y_px + face.height_px / 2
        return Square(x, y, face.width_px)
    if face.points is None:
        x, y = face.x_px + face.width_px / 2, face.y_px + face.height_px / 2
        return Square(x, y, WIDTH_PER_HEIGHT * face.height_px)
    eyes, corners = _middles(face.points)
    x, y = (eyes + CENTRE_DROP * (corners - eyes)).tolist()
    return Square(x, y, max(1.0, WIDTH_PER_DROP * float(np.linalg.norm(corners - eyes))))


def layout_of(face: Face, box: Square, angle_rad: float) -> Layout:
    """What lies where on a detected face whose square box and roll are known: as far as it was
    seen, else by proportion.
    """
    layout = CASCADE_LAYOUT
    if not face.tight:
        return layout
    width = box.width_px
    if face.points is not None:
        eyes, corners = _middles(face.points)
        x, y = (eyes + LIPS_DROP * (corners - eyes)).tolist()
        u, v = rotated((x - box.x_px) / width, (y - box.y_px) / width, -angle_rad)
        wide = float(np.linalg.norm(face.points[4] - face.points[3])) / width
        layout = replace(layout, mouth_u=u, mouth_v=v, mouth_width=wide)
    left, top = (face.x_px - box.x_px) / width, (face.y_px - box.y_px) / width
    right, bottom = left + face.width_px / width, top + face.height_px / width
    return replace(layout, left=left, top=top, right=right, bottom=bottom)


def mouth_of(box: Square, layout: Layout, angle_rad: float) -> Mouth:
    """The mouth of a face with this box that is rolled by `angle_rad` (positive clockwise in the
    picture) about the centre.
    """
    width = box.width_px
    dx, dy = rotated(layout.mouth_u * width, layout.mouth_v * width, angle_rad)
    return Mouth(box.x_px + dx, box.y_px + dy, layout.mouth_width * width)


def edges_of(box: Square, layout: Layout) -> Edges:
    """The tight rectangle of a face with this box."""
    width = box.width_px
    return Edges(
        box.x_px + layout.left * width,
        box.y_px + layout.top * width,
        box.x_px + layout.right * width,
        box.y_px + layout.bottom * width,
    )


def _middles(points: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The middle of the eyes and that of the mouth's corners, [2] each."""
    exact = points.astype(np.float64)
    return (exact[0] + exact[1]) / 2, (exact[3] + exact[4]) / 2


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
