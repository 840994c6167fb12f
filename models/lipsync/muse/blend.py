"""How the repainted face goes back into the picture: a square around it, a mask, a feather.

What it is not: the blending itself (trans_dh_service/compose.py). The masks are MuseTalk's; its
face-parsing network is replaced by a map drawn from landmarks or from the rectangle alone
(docs/decisions/0076). Maps have MuseTalk's classes: 1 skin, 10 nose, 11 to 13 mouth and lips.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures

from models.lipsync.base import Image, LipPatch
from models.lipsync.muse.box import Edges

MAP_PX = 512
SKIN, NOSE, LIPS = 1, 10, (11, 12, 13)
_CHEEK_KERNEL = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (35, 3))
# Of the way from the middle row to the chin: where our masks begin, and a drawn nose ends.
_SKIN_FROM, _NOSE_TO = 0.15, 0.36


def _house() -> Image:
    """The shape that skin grows by, [33, 33]: 10 to either side and 16 up, under a gable."""
    down, aside = np.mgrid[-16:17, -16:17]
    return np.asarray(np.abs(aside) <= np.minimum(10, down + 6), np.uint8)


_JAW_KERNEL = _house()


@dataclass(frozen=True)
class BlendRule:
    """`jaw`: skin grown over the jaw and thinned at the cheeks (v1.5), else as it is (v1).
    `cheeks`: map columns left and right of the middle where cheeks begin. `blur`: the feather, of
    the square's width.
    """

    jaw: bool = True
    cheeks: tuple[int, int] = (90, 90)
    blur: float = 0.05


def square(box: Edges) -> Edges:
    """The square around a face that the map covers; may reach beyond the picture."""
    x, y = (box.left + box.right) // 2, (box.top + box.bottom) // 2
    half = int(max(box.width, box.height) // 2 * 1.5)
    return Edges(x - half, y - half, x + half, y + half)


def kernel_px(rule: BlendRule, width_px: int) -> int:
    """The width of the feather's Gaussian, odd."""
    return int(rule.blur * width_px // 2 * 2) + 1


def region(classes: NDArray[np.uint8], rule: BlendRule) -> Image:
    """What of a map [512, 512] is repainted: 255 there, else 0."""
    skin = np.where(classes == SKIN, 255, 0).astype(np.uint8)
    lips = np.isin(classes, LIPS)
    if rule.jaw:
        grown = np.asarray(cv2.dilate(skin, _JAW_KERNEL), np.uint8)
        thinned = cv2.erode(grown, _CHEEK_KERNEL, iterations=2)
        columns = np.arange(MAP_PX)
        middle = MAP_PX // 2
        cheek = (columns <= middle - rule.cheeks[0]) | (columns >= middle + rule.cheeks[1])
        skin = np.where(cheek, thinned, grown).astype(np.uint8)
        skin[classes == NOSE] = 0
    skin[lips] = 255
    return skin


def mask(repainted: Image, box: Edges, inset_px: int = 0) -> Image:
    """A region [512, 512] in the pixels of its square: inside the box, below the middle.

    `inset_px`: kept away from the box's edges, so that a feather ends before them.
    """
    around = square(box)
    side = around.width
    whole = Pictures.fromarray(repainted).resize((side, side), Pictures.Resampling.BICUBIC)
    inner = box.moved(-around.left, -around.top)
    rows = np.s_[inner.top + inset_px : max(0, inner.bottom - inset_px)]
    columns = np.s_[inner.left + inset_px : max(0, inner.right - inset_px)]
    made = np.zeros((side, side), np.uint8)
    made[rows, columns] = np.asarray(whole)[rows, columns]
    made[: int(side * 0.5)] = 0
    return made


def feathered(hard: Image, rule: BlendRule) -> Image:
    """The mask with soft edges."""
    kernel = kernel_px(rule, hard.shape[1])
    return np.asarray(cv2.GaussianBlur(hard, (kernel, kernel), 0), np.uint8)


def own_mask(box: Edges, landmarks: NDArray[Any] | None, rule: BlendRule) -> Image:
    """The feathered mask of a face, in the pixels of its square; 0 at and beyond the box's edges.

    `landmarks`: [68, 2] in the box's picture, or None.
    """
    around = square(box)
    if landmarks is None:
        return _plain_mask(box.moved(-around.left, -around.top), rule)
    scale = MAP_PX / max(1, around.width)
    points = (np.asarray(landmarks, np.float64) - (around.left, around.top)) * scale
    return _feathered_inside(_drawn(points), box, rule)


@lru_cache(maxsize=64)
def _plain_mask(box: Edges, rule: BlendRule) -> Image:
    around = square(box)
    scale = MAP_PX / max(1, around.width)
    left, top, right, bottom = ((n - around.left) * scale for n in (box.left, 0, box.right, 0))
    top, bottom = (box.top - around.top) * scale, (box.bottom - around.top) * scale
    made = _feathered_inside(_ellipse(left, top, right, bottom), box, rule)
    made.setflags(write=False)
    return made


def _feathered_inside(classes: NDArray[np.uint8], box: Edges, rule: BlendRule) -> Image:
    around = square(box)
    inset = kernel_px(rule, around.width) // 2 + 1
    hard = mask(region(classes, rule), box, inset)
    hard[: around.height // 2 + round(_SKIN_FROM * box.height / 2) + inset] = 0
    return feathered(hard, rule)


def _drawn(points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """A map of 68 points in its own pixels: the skin within the jaw, nose, mouth."""
    made = np.zeros((MAP_PX, MAP_PX), np.uint8)
    cv2.fillPoly(made, [_whole(points[:17])], SKIN)
    cv2.fillPoly(made, [_whole(points[[29, 31, 32, 33, 34, 35]])], NOSE)
    cv2.fillPoly(made, [_whole(points[48:60])], LIPS[1])
    return made


def _ellipse(left: float, top: float, right: float, bottom: float) -> NDArray[np.uint8]:
    """A map of a box's edges alone: an ellipse down to the chin, and a nose."""
    made = np.zeros((MAP_PX, MAP_PX), np.uint8)
    x, middle = (left + right) / 2, (top + bottom) / 2
    half, reach = (right - left) / 2, bottom - middle
    axes = (round(0.96 * half), round(0.98 * reach))
    cv2.ellipse(made, (round(x), round(middle)), axes, 0, 0, 360, SKIN, cv2.FILLED)
    wing = 0.24 * half
    end = middle + _NOSE_TO * reach
    nose = np.array([[x, middle], [x - wing, end], [x + wing, end]])
    cv2.fillPoly(made, [_whole(nose)], NOSE)
    return made


def _whole(points: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.rint(points).astype(np.int32)


def resized(face: Image, box: Edges) -> Image:
    """A face [256, 256, 3] in the box's pixels."""
    return np.asarray(cv2.resize(face, (box.width, box.height)), np.uint8)


def patch(crop: Image, face: Image, box: Edges, weight: Image, around: Edges) -> LipPatch:
    """What to paint: the face in its box, mixed by `weight`, which covers `around`.

    `box` and `around` lie in the crop's pixels; `around` may reach beyond it. Only the rows and
    columns with weight are given, and one more on each side.
    """
    height, width = crop.shape[:2]
    canvas = np.zeros(crop.shape[:2], np.uint8)
    shown = around.within(width, height)
    inner = shown.moved(-around.left, -around.top)
    canvas[_part(shown)] = weight[_part(inner)]
    canvas[[0, -1]] = 0
    canvas[:, [0, -1]] = 0
    picture = crop.copy()
    seen = box.within(width, height)
    own = seen.moved(-box.left, -box.top)
    picture[_part(seen)] = resized(face, box)[_part(own)]
    part = _part(_painted(canvas))
    return LipPatch(
        picture[part],
        canvas[part].astype(np.float32) / np.float32(255),
        part[1].start,
        part[0].start,
    )


def _painted(canvas: Image) -> Edges:
    """The rectangle of what is not 0, and one pixel more on each side."""
    rows, columns = np.flatnonzero(canvas.any(axis=1)), np.flatnonzero(canvas.any(axis=0))
    if not len(rows):
        return Edges(0, 0, 2, 2)
    return Edges(
        max(0, int(columns[0]) - 1),
        max(0, int(rows[0]) - 1),
        int(columns[-1]) + 2,
        int(rows[-1]) + 2,
    )


def _part(edges: Edges) -> tuple[slice, slice]:
    return np.s_[edges.top : edges.bottom, edges.left : edges.right]
