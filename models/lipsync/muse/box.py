"""Which rectangle of a face MuseTalk repaints.

What it is not: detection. The rule for 68 landmarks is MuseTalk's own (facts: lipsync-models.md);
without landmarks the rectangle is estimated from the pose by measured proportions
(docs/decisions/0076).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.lipsync.base import Pose

# Of the tight face rectangle: how far the repainted one reaches beyond its sides, and where its
# middle row and its lower edge lie (means over 51 frames of two people, YuNet, 468 points).
_SIDE, _MIDDLE, _CHIN = 0.065, 0.45, 1.03
# Rectangles are about so high where v1.5's rows below the chin are given in pixels.
_USUAL_PX = 256
# The same from the width of a Haar box, down from the mouth: chin, middle row; and half the width.
_CHIN_OF_SIZE, _MIDDLE_OF_SIZE, _HALF_OF_SIZE = 0.32, -0.32, 0.455


@dataclass(frozen=True)
class Edges:
    """A rectangle in whole pixels; the right and bottom edges do not belong to it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Right minus left."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Bottom minus top."""
        return self.bottom - self.top

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        return self.left, self.top, self.right, self.bottom

    def moved(self, dx_px: int, dy_px: int) -> Edges:
        """The same rectangle in a picture whose origin lies elsewhere."""
        return Edges(self.left + dx_px, self.top + dy_px, self.right + dx_px, self.bottom + dy_px)

    def within(self, width_px: int, height_px: int) -> Edges:
        """The part inside a picture; at least one pixel of it."""
        left, top = min(max(0, self.left), width_px - 1), min(max(0, self.top), height_px - 1)
        right, bottom = max(left + 1, min(self.right, width_px)), min(self.bottom, height_px)
        return Edges(left, top, right, max(top + 1, bottom))


@dataclass(frozen=True)
class BoxRule:
    """`shift_px` moves the middle row down (v1's bbox_shift); `chin_px` is added below (v1.5)."""

    shift_px: int = 0
    chin_px: int = 0


def landmark_box(
    landmarks: NDArray[Any], given: Edges, rule: BoxRule, height_px: int | None = None
) -> Edges:
    """MuseTalk's rectangle: from as far above landmark 29 as the lowest point lies below it.

    Args:
        landmarks: [68, 2] in iBUG order, pixels of the frame.
        given: taken where the landmarks give no rectangle (empty, or left of the frame).
        rule: the version's.
        height_px: the frame's, that `chin_px` stays within; None for no limit.
    """
    points = np.trunc(landmarks).astype(np.int64)
    middle = int(points[29, 1]) + rule.shift_px
    moved = points[:, 1].copy()
    moved[29] = middle
    left, right, bottom = int(points[:, 0].min()), int(points[:, 0].max()), int(moved.max())
    box = Edges(left, max(0, 2 * middle - bottom), right, bottom)
    if box.height <= 0 or box.width <= 0 or box.left < 0:
        box = given
    return with_chin(box, rule, height_px)


def with_chin(box: Edges, rule: BoxRule, height_px: int | None = None) -> Edges:
    """The rectangle with v1.5's rows below the chin."""
    bottom = box.bottom + rule.chin_px
    limit = bottom if height_px is None or not rule.chin_px else height_px
    return Edges(box.left, box.top, box.right, min(bottom, limit))


def shift_range(landmarks: NDArray[Any]) -> tuple[int, int]:
    """The legal range of v1's shift over frames with a face: [N, 68, 2] landmarks."""
    rows = np.trunc(landmarks).astype(np.int64)[:, :, 1]
    up, down = (rows[:, 30] - rows[:, 29]).mean(), (rows[:, 29] - rows[:, 28]).mean()
    return -int(up), int(down)


def pose_box(pose: Pose, rule: BoxRule) -> Edges:
    """The rectangle of a pose: by its landmarks, else by its face rectangle, else by its size."""
    estimate = _estimate(pose, rule)
    if pose.landmarks is None:
        return Edges(
            estimate.left,
            estimate.top,
            estimate.right,
            estimate.bottom + round(rule.chin_px / _USUAL_PX * estimate.height),
        )
    return landmark_box(pose.landmarks, estimate, rule)


def _estimate(pose: Pose, rule: BoxRule) -> Edges:
    if pose.face is not None:
        face = pose.face
        width, height = face.right - face.left, face.bottom - face.top
        left, right = face.left - _SIDE * width, face.right + _SIDE * width
        middle, chin = face.top + _MIDDLE * height, face.top + _CHIN * height
    else:
        half = _HALF_OF_SIZE * pose.size_px
        left, right = pose.x_px - half, pose.x_px + half
        middle = pose.mouth_y_px + _MIDDLE_OF_SIZE * pose.size_px
        chin = pose.mouth_y_px + _CHIN_OF_SIZE * pose.size_px
    middle += rule.shift_px
    edges = [round(value) for value in (left, 2 * middle - chin, right, chin)]
    wide, high = max(edges[2], edges[0] + 8), max(edges[3], edges[1] + 8)
    return Edges(edges[0], edges[1], wide, high)
