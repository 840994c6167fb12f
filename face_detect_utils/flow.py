"""The motion of a face between two frames, from points that are followed by optical flow.

What it is not: a tracker (track.py holds the state). Points lie on the upper two thirds of the
face: the mouth and the chin move with speech and would shake the pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from face_detect_utils.base import Image

Points = NDArray[np.float32]

MAX_POINTS = 40
ENOUGH_POINTS = 12
WINDOW_PX = 15
LEVELS = 3
MAX_ERROR = 14.0
"""Mean grey difference of a point's window (cv2's `err`) above which it is not the same point."""
NO_POINTS: Points = np.zeros((0, 2), np.float32)
LEFT, RIGHT, TOP, BOTTOM = -0.38, 0.38, -0.38, 0.14
"""Where points may lie, relative to the box's centre, in widths: brows to nose."""


@dataclass(frozen=True)
class Move:
    """A similarity: x' = a x - b y + dx, y' = b x + a y + dy."""

    a: float
    b: float
    dx: float
    dy: float


def seed(gray: Image, x_px: float, y_px: float, width_px: float) -> Points:
    """Corners worth following on the face whose box has this centre and width, [n, 2]."""
    height, width = gray.shape
    left, right = int(x_px + LEFT * width_px), int(x_px + RIGHT * width_px) + 1
    top, bottom = int(y_px + TOP * width_px), int(y_px + BOTTOM * width_px) + 1
    left, top = max(0, left), max(0, top)
    part = gray[top : max(0, min(height, bottom)), left : max(0, min(width, right))]
    if min(part.shape, default=0) < 8:
        return NO_POINTS
    apart = max(2.0, 0.045 * width_px)
    found: object = cv2.goodFeaturesToTrack(part, MAX_POINTS, 0.01, apart, blockSize=5)
    if found is None:
        return NO_POINTS
    corners = np.asarray(found, np.float32).reshape(-1, 2)
    return corners + np.array([left, top], np.float32)


def follow(before: Image, now: Image, points: Points) -> tuple[Points, Move | None]:
    """The points in the next frame and the face's motion; (no points, None) where it cannot be
    told. Points that do not move with the others are dropped.
    """
    if len(points) < 4:
        return NO_POINTS, None
    left, top, right, bottom = _around(points, now.shape)
    shift = np.array([left, top], np.float32)
    old = (points - shift).reshape(-1, 1, 2)
    new, good, error = cv2.calcOpticalFlowPyrLK(
        before[top:bottom, left:right],
        now[top:bottom, left:right],
        old,
        old.copy(),
        winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=LEVELS - 1,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 12, 0.02),
    )
    keep = (good.ravel() == 1) & (error.ravel() < MAX_ERROR)
    return _fitted(points[keep], new.reshape(-1, 2)[keep] + shift, len(points))


def _around(points: Points, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """A rectangle around the points with room for their motion."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = 24 + 0.25 * float((high - low).max())
    left, top = (max(0, int(v - room)) for v in low)
    right, bottom = (int(v + room) + 1 for v in high)
    return left, top, min(shape[1], right), min(shape[0], bottom)


def _fitted(old: Points, new: Points, asked: int) -> tuple[Points, Move | None]:
    if len(old) < max(4, asked // 3):
        return NO_POINTS, None
    matrix, inliers = cv2.estimateAffinePartial2D(
        old, new, method=cv2.RANSAC, ransacReprojThreshold=1.5, maxIters=100, refineIters=5
    )
    if matrix is None or not np.isfinite(matrix).all():
        return NO_POINTS, None
    kept = new[inliers.ravel() == 1]
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    if len(kept) < max(4, asked // 3) or not 0.8 < scale < 1.25:
        return NO_POINTS, None
    return kept.astype(np.float32), Move(
        float(matrix[0, 0]), float(matrix[1, 0]), float(matrix[0, 2]), float(matrix[1, 2])
    )
