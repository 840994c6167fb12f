"""The visible mark: a line of text in the bottom right corner of every frame.

What it is not: provenance for machines, which is in the file's metadata (join.py, sink.py). Drawn
into the frame's own planes, so the rest of the picture keeps its bits.
"""

from __future__ import annotations

import math

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from trans_dh_service.compose import Colours
from trans_dh_service.picture import Plane, planes_of

HEIGHT = 0.03
"""Height of a capital letter, in heights of the picture; at least LEAST_PX."""
LEAST_PX = 8
MARGIN = 0.025
MOST_WIDTH = 0.9
"""A longer text is made smaller, down to whatever it needs."""
INK, SHADE = 0.6, 0.45
"""How much of the letters' white and of the black around them is painted."""
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_CAPITAL_PX = 21
"""Height of this font's capitals at scale 1."""


class Mark:
    """A text, drawn once for pictures of one size and painted on each."""

    def __init__(self, text: str, width_px: int, height_px: int, colours: Colours) -> None:
        letters, shadow = _drawn(text, width_px, height_px)
        rows, columns = letters.shape
        margin = round(MARGIN * height_px)
        self._x = max(0, width_px - margin - columns) & ~1
        self._y = max(0, height_px - margin - rows) & ~1
        black, white = colours.to_yuv[0, 3], colours.to_yuv[0] @ (255, 255, 255, 1)
        ink, shade = INK * letters, SHADE * shadow * (1 - letters)
        self._weight = (ink + shade).astype(np.float32)
        self._light = (ink * white + shade * black).astype(np.float32)
        halves = self._weight.reshape(rows // 2, 2, columns // 2, 2)
        self._grey = np.asarray(halves.mean(axis=(1, 3)), np.float32)

    def paint(self, frame: av.VideoFrame) -> None:
        """Draw the text onto a frame of the size it was made for."""
        frame.make_writable()
        luma, *chromas = planes_of(frame)
        _blend(luma, (self._x, self._y), self._light, self._weight)
        for plane in chromas:
            _blend(plane, (self._x // 2, self._y // 2), self._grey * np.float32(128), self._grey)


def _blend(
    plane: Plane, at: tuple[int, int], light: NDArray[np.float32], weight: NDArray[np.float32]
) -> None:
    """new = old * (1 - weight) + light, where `light` is weighted already."""
    x, y = at
    part = plane[y : y + weight.shape[0], x : x + weight.shape[1]]
    rows, columns = part.shape
    mixed = part * (1 - weight[:rows, :columns]) + light[:rows, :columns]
    np.copyto(part, np.rint(mixed), casting="unsafe")


def _drawn(
    text: str, width_px: int, height_px: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The letters and the shadow around them, 0..1, both [rows, columns], even."""
    scale = max(LEAST_PX, HEIGHT * height_px) / _CAPITAL_PX
    (wide, _), _ = cv2.getTextSize(text, _FONT, scale, 1)
    scale *= min(1.0, MOST_WIDTH * width_px / max(wide, 1))
    thick = max(1, round(scale * 2))
    around = thick + max(2, round(scale * 3))
    (wide, high), below = cv2.getTextSize(text, _FONT, scale, thick)
    rows, columns = (2 * math.ceil((size + 2 * around) / 2) for size in (high + below, wide))
    drawn: list[NDArray[np.float32]] = []
    for stroke in (thick, around):
        page = np.zeros((rows, columns), np.uint8)
        cv2.putText(page, text, (around, around + high), _FONT, scale, 255, stroke, cv2.LINE_AA)
        drawn.append(page.astype(np.float32) / np.float32(255))
    shadow = cv2.GaussianBlur(drawn[1], (0, 0), max(1.0, scale))
    return drawn[0], np.asarray(shadow, np.float32)
