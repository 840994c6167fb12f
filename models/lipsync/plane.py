"""The face's own plane: coordinates that move with the face, and pictures sampled in them.

What it is not: anything about lips. A point of the plane is (u, v) in face widths, with the mouth's
centre of the pose at (0, 0), u along the face to the picture's right and v down the face.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync.base import Image, Pose

Matrix = NDArray[np.float64]


def to_picture(pose: Pose) -> Matrix:
    """The 3x3 matrix that takes (u, v, 1) to pixels (x, y, 1)."""
    cos = math.cos(pose.angle_rad) * pose.size_px
    sin = math.sin(pose.angle_rad) * pose.size_px
    return np.array([[cos, -sin, pose.mouth_x_px], [sin, cos, pose.mouth_y_px], [0.0, 0.0, 1.0]])


def grid(left: float, top: float, step: float) -> Matrix:
    """The 3x3 matrix that takes pixels of a picture of the plane to (u, v): its first pixel lies at
    (left, top), pixels are `step` face widths apart.
    """
    return np.array([[step, 0.0, left], [0.0, step, top], [0.0, 0.0, 1.0]])


def sampled(crop: Image, matrix: Matrix, width: int, height: int) -> Image:
    """A picture [height, width, 3] whose pixel p shows the crop at `matrix` · p. Shrinks by area
    first, so that fine texture does not turn into noise.
    """
    shrink = math.sqrt(abs(float(np.linalg.det(matrix[:2, :2]))))
    if shrink > 1.5:
        scale = 1.0 / shrink
        small = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
        x_scale, y_scale = small[0] / crop.shape[1], small[1] / crop.shape[0]
        crop = as_image(cv2.resize(crop, small, interpolation=cv2.INTER_AREA))
        # A resized picture's pixel centres lie half a pixel in.
        fit = np.array(
            [
                [x_scale, 0.0, 0.5 * x_scale - 0.5],
                [0.0, y_scale, 0.5 * y_scale - 0.5],
                [0.0, 0.0, 1.0],
            ]
        )
        matrix = fit @ matrix
    view = cv2.warpAffine(
        crop,
        matrix[:2],
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return as_image(view)


def as_image(picture: object) -> Image:
    """cv2's answer as what it is, uint8; no copy."""
    return np.asarray(picture, np.uint8)


def as_floats(numbers: object) -> NDArray[np.float32]:
    """cv2's or numpy's answer as float32; no copy where it is that already."""
    return np.asarray(numbers, np.float32)
