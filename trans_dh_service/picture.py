"""Planes of a picture: as numpy views, turned upright, made 8-bit 4:2:0, shrunk for the detector.

What it is not: decoding (source.py) or painting (compose.py).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from av.sidedata.sidedata import Type
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
Planes = tuple[Plane, Plane, Plane]

PIX_FMT = "yuv420p"
SMALL_PX = 640
"""Longest side of the pictures in which faces are looked for."""


@dataclass(frozen=True)
class Turn:
    """How stored pictures become upright: mirrored left-right first, then `quarters` turns of 90
    degrees to the right.
    """

    quarters: int = 0
    mirrored: bool = False


UPRIGHT = Turn()


def planes_of(frame: av.VideoFrame) -> Planes:
    """Views of Y, U, V as [height, width]; writable when the frame is. Valid while it lives."""
    y, u, v = (_view(plane) for plane in frame.planes)
    return y, u, v


def turn_of(frame: av.VideoFrame) -> Turn:
    """The turn that a frame's display matrix asks for (nearest multiple of 90 degrees).

    The matrix is nine 32-bit numbers, a b u c d v x y w, with x' = a x + c y and y' = b x + d y
    (ISO/IEC 14496-12, 6.2.2); y points down.
    """
    sides: Any = frame.side_data  # its type stub describes another class
    if not any(side.type is Type.DISPLAYMATRIX for side in sides):
        return UPRIGHT
    a, b, _, c, d = struct.unpack_from("<5i", bytes(sides[Type.DISPLAYMATRIX]))
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return Turn(round(math.atan2(b, a) / (math.pi / 2)) % 4, mirrored)


def shown_size(frame: av.VideoFrame, turn: Turn) -> tuple[int, int]:
    """Width and height of the upright picture, even: 4:2:0 has no half chroma sample, so an odd
    last row or column is dropped (nothing is scaled).
    """
    width, height = frame.width, frame.height
    if turn.quarters % 2:
        width, height = height, width
    return width & ~1, height & ~1


def upright(frame: av.VideoFrame, size: tuple[int, int], turn: Turn) -> av.VideoFrame:
    """The frame as 8-bit 4:2:0 of exactly `size` (width, height). The frame itself where it already
    is; a copy otherwise. Colour tags are kept.
    """
    full = frame.format.name.startswith("yuvj") or frame.color_range == ColorRange.JPEG
    if frame.format.name != PIX_FMT:
        spread = ColorRange.JPEG if full else ColorRange.MPEG
        frame = _tagged(frame, frame.reformat(format=PIX_FMT, dst_color_range=spread), spread)
    if shown_size(frame, turn) != size:
        stored = size[::-1] if turn.quarters % 2 else size
        scaled = frame.reformat(width=stored[0], height=stored[1])
        frame = _tagged(frame, scaled, frame.color_range)
    if turn == UPRIGHT and (frame.width, frame.height) == size:
        return frame
    return _moved(frame, size, turn)


def copy_of(frame: av.VideoFrame) -> av.VideoFrame:
    """A frame of its own with the same picture (a decoded one may be shown several times)."""
    return _moved(frame, (frame.width, frame.height), UPRIGHT)


def small_scale(width: int, height: int) -> float:
    """Factor from full to small pictures; 1 where the picture is small already."""
    return min(1.0, SMALL_PX / max(width, height))


def small_gray(frame: av.VideoFrame) -> Plane:
    """The picture's brightness with a long side of at most SMALL_PX."""
    return np.ascontiguousarray(_shrunk(_view(frame.planes[0]), _small_size(frame)))


def small_bgr(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """The picture in colour [h, w, 3], of the same size as `small_gray`. BT.601 is near enough for
    finding faces.
    """
    size = _small_size(frame)
    y, u, v = (_shrunk(plane, size) for plane in planes_of(frame))
    yuv = cv2.merge((y, u, v))
    return np.asarray(cv2.cvtColor(yuv, cv2.COLOR_YUV2BGR), np.uint8)


def _small_size(frame: av.VideoFrame) -> tuple[int, int]:
    scale = small_scale(frame.width, frame.height)
    return max(1, round(frame.width * scale)), max(1, round(frame.height * scale))


def _shrunk(plane: Plane, size: tuple[int, int]) -> Plane:
    """A plane in another size (width, height): halved while that is still larger, which is quick,
    the rest by straight lines. A third of the time of the mean over areas, and nearly equal.
    """
    while plane.shape[1] >= 2 * size[0] and plane.shape[0] >= 2 * size[1]:
        rows, columns = plane.shape[0] // 2, plane.shape[1] // 2
        even = plane[: 2 * rows, : 2 * columns]
        plane = np.asarray(cv2.resize(even, (columns, rows), interpolation=cv2.INTER_AREA))
    if plane.shape[::-1] == size:
        return plane
    return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _view(plane: av.video.plane.VideoPlane) -> Plane:
    data: Plane = np.frombuffer(memoryview(plane), np.uint8)
    rows = data[: plane.line_size * plane.height].reshape(plane.height, plane.line_size)
    return rows[:, : plane.width]


def _moved(frame: av.VideoFrame, size: tuple[int, int], turn: Turn) -> av.VideoFrame:
    made = av.VideoFrame(size[0], size[1], PIX_FMT)
    for old, new in zip(planes_of(frame), planes_of(made), strict=True):
        turned = old[:, ::-1] if turn.mirrored else old
        turned = np.rot90(turned, -turn.quarters)
        np.copyto(new, turned[: new.shape[0], : new.shape[1]])
    made.pts = frame.pts
    return _tagged(frame, made, frame.color_range)


def _tagged(old: av.VideoFrame, new: av.VideoFrame, spread: int) -> av.VideoFrame:
    new.color_range = spread
    new.colorspace = old.colorspace
    new.color_primaries = old.color_primaries
    new.color_trc = old.color_trc
    return new
