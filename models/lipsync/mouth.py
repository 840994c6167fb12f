"""Paints a mouth: the learned face, changed by the feature, lit like the frame, as a patch.

What it is not: the choice of what is learned (rest.py) or the formulas of the change (shape.py).
Stateless: the same rest, crop, pose and feature give the same patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync import align
from models.lipsync.base import Image, LipPatch, Pose
from models.lipsync.lips import Lips
from models.lipsync.plane import Matrix, to_picture
from models.lipsync.rest import Rest
from models.lipsync.shape import Field, fade, field

Floats = NDArray[np.float32]

COARSE_PX = 4
"""The change is computed on every fourth pixel and interpolated between."""
LIGHT_SIGMA_PX = 7.0
MAX_LIGHT = 50.0
"""Most that light may differ from the learned picture's, in grey levels."""
EDGE = 0.009
"""Softness of a lip's edge, face widths; at least 1.5 pixels."""
TOOTH = 0.042
TOOTH_EDGE = 0.03
"""Width of a tooth and how far the upper teeth reach below the closed lips, face widths."""


@dataclass(frozen=True)
class _Window:
    """The patch's rectangle in the crop, whole pixels; sides are multiples of COARSE_PX."""

    x: int
    y: int
    width: int
    height: int


def paint(rest: Rest, crop: Image, pose: Pose, feature: Floats) -> LipPatch:
    """The patch for one frame: crop [H, W, 3] BGR, its pose, a feature [5]."""
    fit = align.align(rest.template, crop, pose)
    window = _window(rest.lips, fit.matrix, crop)
    if window is None:
        return LipPatch(crop[:1, :1].copy(), np.zeros((1, 1), np.float32), 0, 0)
    u, v = _coarse(window, np.linalg.inv(fit.matrix))
    change = field(rest.lips, feature, u, v)
    size_px = float(np.sqrt(abs(np.linalg.det(fit.matrix[:2, :2]))))
    texture = _texture(rest, change, window)
    light = _light(rest, fit, u, v)
    painted = _lit(texture, _fine(light, window)) * _shaded(change, window)
    mouth = _inside(change, window, size_px)
    colours = _cavity(rest, fit, change, feature, window)
    painted = _mixed(painted, colours, mouth)
    weight = _fine(_mask(rest.lips, u, v), window)
    _clear_border(weight)
    image = cv2.convertScaleAbs(painted)
    return LipPatch(image, weight, window.x, window.y)


def _window(lips: Lips, matrix: Matrix, crop: Image) -> _Window | None:
    """The rectangle around everything the mask may touch, inside the crop."""
    across, top, bottom = _reach(lips)
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


def _coarse(window: _Window, inverse: Matrix) -> tuple[Floats, Floats]:
    """(u, v) at the middle of every COARSE_PX square of the window."""
    middle = (COARSE_PX - 1) / 2
    x = window.x + middle + np.arange(0, window.width, COARSE_PX)
    y = window.y + middle + np.arange(0, window.height, COARSE_PX)
    u = inverse[0, 0] * x[None] + inverse[0, 1] * y[:, None] + inverse[0, 2]
    v = inverse[1, 0] * x[None] + inverse[1, 1] * y[:, None] + inverse[1, 2]
    return u.astype(np.float32), v.astype(np.float32)


def _fine(coarse: Floats, window: _Window) -> Floats:
    return cv2.resize(coarse, (window.width, window.height), interpolation=cv2.INTER_LINEAR)


def _texture(rest: Rest, change: Field, window: _Window) -> Image:
    """The learned picture, changed: the part above the opening from the upper source, the part
    below it from the lower one.
    """
    maps = []
    matrix = to_picture(rest.pose)
    for source_v in (change.upper_v, change.lower_v):
        for row in matrix[:2]:
            maps.append(row[0] * change.u + row[1] * source_v + row[2])
    fine = _fine(np.dstack(maps).astype(np.float32), window)
    middle = _fine((change.below_upper + change.below_lower).astype(np.float32), window)
    low = (middle > 0)[..., None]
    where = np.where(low, fine[..., 2:], fine[..., :2])
    return cv2.remap(rest.crop, where, None, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)


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
    return cv2.remap(even, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _lit(texture: Image, light: Floats) -> Floats:
    return cv2.add(texture, light, dtype=cv2.CV_32F)


def _inside(change: Field, window: _Window, size_px: float) -> Floats:
    """Share of each pixel that shows the mouth's inside, [h, w, 1]."""
    soft = max(EDGE, 1.5 / size_px)
    within = fade((np.abs(change.across) - 0.8) / 0.2)
    both = np.dstack([change.below_upper / soft, -change.below_lower / soft, within])
    both = _fine(both.astype(np.float32), window)
    edges = np.clip(both[..., :2] + 0.35, 0, 1)
    return (edges[..., 0] * edges[..., 1] * both[..., 2])[..., None]


def _cavity(
    rest: Rest, fit: align.Fit, change: Field, feature: Floats, window: _Window
) -> Floats:
    """Colours of the mouth's inside, [h, w, 3] float32: dark, upper teeth, a hint of tongue."""
    skin = np.average(fit.colours, axis=(0, 1), weights=rest.light_weight).astype(np.float32)
    bright = float(skin @ np.array([0.114, 0.587, 0.299], np.float32))
    dark = 0.06 * skin + np.array([6, 5, 12], np.float32)
    tongue = np.array([0.30, 0.28, 0.52], np.float32) * bright
    enamel = (0.45 * skin + 0.55 * bright) * min(1.15, 225.0 / max(bright, 1.0))
    t2 = np.clip(change.across**2, 0, 1)
    low = fade((-change.below_lower) / np.maximum(0.5 * change.opening, 0.02))
    colours = dark + (tongue - dark) * (0.6 * low * (1 - t2))[..., None]
    reach = TOOTH_EDGE * (0.25 + 0.75 * float(np.clip(feature[3], 0, 1))) * (1 - 0.5 * t2)
    beyond = np.maximum(change.below_line - reach, change.below_upper - 0.6 * change.opening)
    shown = fade(beyond / 0.01 + 0.5) * fade((t2 - 0.3) / 0.6)
    apart = np.abs(np.sin((change.across * rest.lips.half / TOOTH + 0.5) * np.pi)) ** 0.25
    root = 1 - 0.35 * np.exp(-np.maximum(change.below_upper, 0) / 0.01)
    teeth = enamel * ((0.86 + 0.14 * apart) * root * (1 - 0.5 * t2))[..., None]
    colours = colours + (teeth - colours) * shown[..., None]
    return _fine(colours.astype(np.float32), window)


def _shaded(change: Field, window: _Window) -> Floats:
    """How dark the lips' inner edges are, [h, w, 1]: light does not reach them where the mouth is
    open.
    """
    near = np.exp(-np.abs(change.below_upper) / 0.008)
    near = near + 0.6 * np.exp(-np.abs(change.below_lower) / 0.008)
    shade = 1 - 0.4 * np.minimum(near, 1) * np.clip(change.opening / 0.03, 0, 1)
    return _fine(shade.astype(np.float32), window)[..., None]


def _mixed(painted: Floats, colours: Floats, inside: Floats) -> Floats:
    return painted + (colours - painted) * inside


def _clear_border(weight: Floats) -> None:
    """Weight 0 on the patch's border, also where the crop cut it."""
    weight[0], weight[-1], weight[:, 0], weight[:, -1] = 0, 0, 0, 0
