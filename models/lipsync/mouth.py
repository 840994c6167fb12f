"""Paints a mouth: the learned face, changed by the feature, lit like the frame, as a patch.

What it is not: the choice of what is learned (rest.py) or the formulas of the change (shape.py).
Stateless: the same rest, crop, pose and feature give the same patch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync import align, inside, jaw, teeth
from models.lipsync.base import Image, LipPatch, Pose
from models.lipsync.lips import Lips
from models.lipsync.plane import Matrix, as_floats, as_image, grid, to_picture
from models.lipsync.rest import Rest
from models.lipsync.shape import Field, fade, field, lowest

Floats = NDArray[np.floating[Any]]

COARSE_PX = 4
"""The change is computed on every fourth pixel and interpolated between."""
LIGHT_SIGMA_PX = 7.0
CHIN_STILL_PX = 0.25
"""Motion of the chin below which it is left alone."""
MAX_LIGHT = 50.0
"""Most that light may differ from the learned picture's, in grey levels."""


@dataclass(frozen=True)
class _Window:
    """The patch's rectangle in the crop, whole pixels; sides are multiples of COARSE_PX."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class _Place:
    """Where a patch lies on the learned face."""

    rest: Rest
    fit: align.Fit
    window: _Window

    def teeth(self, left: int, top: int, width: int, height: int) -> Floats | None:
        """The person's teeth as they lie in a part of the patch; see `teeth.shown`."""
        if self.rest.teeth is None:
            return None
        shift = grid(self.window.x + left, self.window.y + top, 1.0)
        inverse = np.linalg.inv(self.fit.matrix) @ shift
        return teeth.shown(self.rest.teeth, self.rest.lips, inverse, (width, height))


def paint(rest: Rest, crop: Image, pose: Pose, feature: Floats) -> LipPatch:
    """The patch for one frame: crop [H, W, 3] BGR, its pose, a feature [5]."""
    fit = align.align(rest.template, crop, pose)
    drop = jaw.drop(rest.jaw, rest.lips, fit.colours, rest.light_weight)
    window = _window(rest.lips, lowest(rest.lips, feature, drop), fit.matrix, crop)
    if window is None:
        return LipPatch(crop[:1, :1].copy(), np.zeros((1, 1), np.float32), 0, 0)
    u, v = _coarse(window, np.linalg.inv(fit.matrix))
    change = field(rest.lips, feature, u, v, drop)
    size_px = float(np.sqrt(abs(np.linalg.det(fit.matrix[:2, :2]))))
    mask = _mask(rest.lips, u, v)
    painted = np.zeros((window.height, window.width, 3), np.float32)
    upper, rows = _painted_part(window, mask)
    texture = _texture(rest, change, upper)
    light = _fine(_light(rest, fit, u[:rows], v[:rows]), upper)
    cv2.add(texture, light, painted[: upper.height], dtype=cv2.CV_32F)
    skin = align.mean_colour(fit.colours, rest.light_weight)
    look = inside.Look(skin, rest.lips.gap, size_px)
    _open(painted, look, change, feature, _Place(rest, fit, window))
    weight = _fine(mask, window)
    weight = _with_chin(painted, weight, crop, change, (fit.matrix, window))
    _clear_border(weight)
    image = as_image(cv2.convertScaleAbs(painted))
    return LipPatch(image, weight, window.x, window.y)


def _painted_part(window: _Window, mask: Floats) -> tuple[_Window, int]:
    """The upper part of the window that the mask touches, and its rows on the coarse grid: below it
    the frame's own chin is all there is.
    """
    touched = np.flatnonzero(mask.any(axis=1))
    rows = min(int(touched[-1]) + 3, len(mask)) if len(touched) else 1
    return replace(window, height=rows * COARSE_PX), rows


def _window(lips: Lips, bottom: float, matrix: Matrix, crop: Image) -> _Window | None:
    """The rectangle around everything that changes, to `bottom` face widths below the lips, inside
    the crop.
    """
    across, top, _ = _reach(lips)
    corners = np.array(
        [[lips.x + s * across, lips.y + v, 1] for s in (-1, 1) for v in (top, bottom)]
    )
    points = corners @ matrix[:2].T
    low = np.floor(points.min(axis=0)).astype(int) - 1
    high = np.ceil(points.max(axis=0)).astype(int) + 2
    x, y = (int(value) for value in np.maximum(low, 0))
    right, bottom_px = min(int(high[0]), crop.shape[1]), min(int(high[1]), crop.shape[0])
    width = (right - x) // COARSE_PX * COARSE_PX
    height = (bottom_px - y) // COARSE_PX * COARSE_PX
    if width < 2 * COARSE_PX or height < 2 * COARSE_PX:
        return None
    return _Window(x, y, width, height)


def _reach(lips: Lips) -> tuple[float, float, float]:
    """Half width, top and bottom of the mask relative to the middle of the lips."""
    return lips.half + 0.13, -0.115, 0.285 + 0.3 * lips.gap


def _mask(lips: Lips, u: Floats, v: Floats) -> Floats:
    """Weight of the patch, 0..1: whole around the mouth, nothing at the nose and the chin's edge;
    a rounded shape that is narrower at the chin.
    """
    across, top, bottom = _reach(lips)
    x, y = np.abs(u - lips.x), v - lips.y
    down = np.clip(y / bottom, 0, 1)
    side = across * (1 - 0.28 * down * down)
    weight = fade((x - side + 0.085) / 0.085)
    weight = weight * fade((top + 0.05 - y) / 0.05)
    return weight * fade((y - bottom + 0.08) / 0.08)


def _coarse(window: _Window, inverse: Floats) -> tuple[Floats, Floats]:
    """(u, v) at the middle of every COARSE_PX square of the window."""
    middle = (COARSE_PX - 1) / 2
    x = window.x + middle + np.arange(0, window.width, COARSE_PX)
    y = window.y + middle + np.arange(0, window.height, COARSE_PX)
    u = inverse[0, 0] * x[None] + inverse[0, 1] * y[:, None] + inverse[0, 2]
    v = inverse[1, 0] * x[None] + inverse[1, 1] * y[:, None] + inverse[1, 2]
    return u.astype(np.float32), v.astype(np.float32)


def _fine(coarse: Floats, window: _Window) -> Floats:
    return as_floats(cv2.resize(coarse, (window.width, window.height)))


def _texture(rest: Rest, change: Field, window: _Window) -> Image:
    """The learned picture, changed: the part above the opening from the upper source, the part
    below it from the lower one.
    """
    maps, rows = [], slice(0, window.height // COARSE_PX)
    matrix = to_picture(rest.pose)
    for source_v in (change.upper_v[rows], change.lower_v[rows]):
        for row in matrix[:2]:
            maps.append(row[0] * change.u[rows] + row[1] * source_v + row[2])
    fine = _fine(np.dstack(maps).astype(np.float32), window)
    middle = _fine((change.below_upper + change.below_lower)[rows].astype(np.float32), window)
    low = (middle > 0)[..., None]
    where = np.where(low, fine[..., 2:], fine[..., :2])
    none: Any = None  # both coordinates are in the first map, which spares two copies
    shown = cv2.remap(rest.crop, where, none, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return as_image(shown)


def _light(rest: Rest, fit: align.Fit, u: Floats, v: Floats) -> Floats:
    """What must be added to the learned picture so that its skin has the frame's light, [h, w, 3]:
    the difference of the still parts, spread smoothly over the mouth.
    """
    weight = rest.light_weight[..., None]
    apart = np.clip(fit.colours - rest.template.colours, -MAX_LIGHT, MAX_LIGHT) * weight
    spread = cv2.GaussianBlur(np.dstack([apart, weight]), (0, 0), LIGHT_SIGMA_PX)
    even = spread[..., :3] / (spread[..., 3:] + 1e-3)
    x = (u - align.LEFT) * align.SIZE_PX
    y = (v - align.TOP) * align.SIZE_PX
    return as_floats(cv2.remap(even, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _open(
    painted: Floats, look: inside.Look, change: Field, feature: Floats, place: _Place
) -> None:
    """Paint the mouth's inside over the part of the patch where it may show."""
    part = inside.where(change)
    if part is None:
        return
    rows, columns = part
    numbers = [change.below_upper, change.below_lower, change.across, change.below_line]
    coarse = np.dstack([number[rows, columns] for number in numbers]).astype(np.float32)
    height, width = coarse.shape[0] * COARSE_PX, coarse.shape[1] * COARSE_PX
    fine = as_floats(cv2.resize(coarse, (width, height)))
    top, left = rows.start * COARSE_PX, columns.start * COARSE_PX
    view = painted[top : top + height, left : left + width]
    own = place.teeth(left, top, width, height)
    view[:] = inside.painted(view, look, fine, float(np.clip(feature[3], 0, 1)), own)


def _with_chin(
    painted: Floats,
    weight: Floats,
    crop: Image,
    change: Field,
    place: tuple[Matrix, _Window],
) -> Floats:
    """Lay the painted mouth over the frame's own chin, moved down with the opening or up to where
    it is at rest; gives the weight of both together.
    """
    matrix, window = place
    moved = change.chin * float(np.hypot(*matrix[:2, 1]))
    rows = np.flatnonzero(np.abs(moved).max(axis=1) > CHIN_STILL_PX)
    if not len(rows):
        return weight
    top = int(rows[0])
    height = window.height - top * COARSE_PX
    part = as_floats(cv2.resize(as_floats(moved[top:]), (window.width, height)))
    start = top * COARSE_PX
    direction = matrix[:2, 1] / np.hypot(*matrix[:2, 1])
    y = np.arange(window.y + start, window.y + window.height, dtype=np.float32)[:, None]
    x = np.arange(window.x, window.x + window.width, dtype=np.float32)
    shown = cv2.remap(
        crop,
        x - part * np.float32(direction[0]),
        y - part * np.float32(direction[1]),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REPLICATE,
    )
    over = weight[start:, :, None]
    below = painted[start:]
    below[:] = shown + (below - shown) * over
    both = weight.copy()
    both[start:] = np.maximum(weight[start:], np.clip(np.abs(part) / (4 * CHIN_STILL_PX), 0, 1))
    return both


def _clear_border(weight: Floats) -> None:
    """Weight 0 on the patch's border, also where the crop cut it."""
    weight[0], weight[-1], weight[:, 0], weight[:, -1] = 0, 0, 0, 0
