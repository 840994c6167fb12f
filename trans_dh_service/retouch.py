"""Sharpening a painted face: lay it out for the restorer, and blend what comes back.

What it is not: the network (models/restore.py). Only an oval on the face is touched; its edge is
soft. The layout follows from the pose alone, which the tracker has smoothed, so it does not jitter.
"""

from __future__ import annotations

import math
from concurrent.futures import Future
from dataclasses import dataclass

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync.base import Box, Image, LipPatch, Pose
from models.lipsync.plane import grid, sampled, to_picture
from trans_dh_service.compose import Colours, cut
from trans_dh_service.task import RestoreTools

Matrix = NDArray[np.float64]

MOUTH_AT = (257 / 512, 371 / 512)
"""Where FFHQ's layout has the mouth's centre, in sides of the square."""
SIDE_WIDTHS = 512 / 354
"""The square's side in face widths: FFHQ has 131 of 512 pixels from the eyes' line to the mouth's,
a face 0.37 widths (face_detect_utils/geometry.py)."""
OVAL = (0.5, 0.59, 0.3, 0.36)
"""Centre and half axes of what is touched, in sides: brow to chin, cheek to cheek."""
SOFT = 0.3
"""The oval's edge, as a share of its half axes."""


@dataclass(frozen=True, eq=False)
class Retouched:
    """A face under way. `to_face` takes pixels of the box at `x`, `y` of the frame, `width` by
    `height`, to those of the restorer's square.
    """

    future: Future[Image]
    to_face: Matrix
    box: Box


class Retouch:
    """Asks for sharpened faces and makes patches of them."""

    def __init__(self, tools: RestoreTools, colours: Colours) -> None:
        self._tools = tools
        self._colours = colours
        self._oval = oval(tools.size_px)

    def ask(self, picture: av.VideoFrame, pose: Pose) -> Retouched | None:
        """Put the face of a painted picture to the restorer; None where it lies outside."""
        size = self._tools.size_px
        to_picture_px = layout(pose, size)
        crop = cut(picture, _bounds(to_picture_px, size), self._colours)
        if crop is None:
            return None
        shift = np.array([[1.0, 0.0, -crop.x], [0.0, 1.0, -crop.y], [0.0, 0.0, 1.0]])
        to_crop = shift @ to_picture_px
        height, width = crop.image.shape[:2]
        future = self._tools.submit(sampled(crop.image, to_crop, size, size))
        to_face = np.asarray(np.linalg.inv(to_crop), np.float64)
        return Retouched(future, to_face, Box(crop.x, crop.y, width, height))

    def patch(self, asked: Retouched, face: Image) -> LipPatch:
        """The sharpened face back in its place, weighted by the oval."""
        box = asked.box
        image = sampled(face, asked.to_face, box.width, box.height)
        weight = cv2.warpAffine(
            self._oval,
            asked.to_face[:2],
            (box.width, box.height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=0,
        )
        return LipPatch(image, np.asarray(weight, np.float32), box.x, box.y)


def layout(pose: Pose, size: int) -> Matrix:
    """The 3x3 matrix from pixels of the restorer's square to those of the picture."""
    step = SIDE_WIDTHS / size
    left, top = (-at * SIDE_WIDTHS for at in MOUTH_AT)
    return to_picture(pose) @ grid(left, top, step)


def oval(size: int) -> NDArray[np.float32]:
    """Weights [size, size] in 0..1: 1 inside, falling to 0 at the edge without a kink."""
    x, y, half_x, half_y = (part * size for part in OVAL)
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    radius = np.hypot((columns - x) / half_x, (rows - y) / half_y)
    ramp = np.clip((1 - radius) / SOFT, 0, 1)
    return np.asarray(ramp * ramp * (3 - 2 * ramp), np.float32)


def _bounds(matrix: Matrix, size: int) -> Box:
    """The upright box around the square in the picture."""
    corners = np.array([[x, y, 1.0] for x in (0, size) for y in (0, size)]) @ matrix[:2].T
    left, top = (math.floor(edge) for edge in corners.min(axis=0))
    right, bottom = (math.ceil(edge) for edge in corners.max(axis=0))
    return Box(left, top, right - left, bottom - top)
