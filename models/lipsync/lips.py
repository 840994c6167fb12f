"""Finds the lips in a picture of a face's plane: their corners, heights and gap.

What it is not: a network. Skin gives the hue; lips are what is redder than it (teeth, beard and the
dark of the mouth are not). A template of eight numbers is laid over that map so that it covers as
much of the red as it can: a deformable template (Yuille, Hallinan and Cohen, "Feature extraction
from faces using deformable templates", IJCV 1992), searched by the cross-entropy method
(Rubinstein 1999) with a fixed seed, so the same picture gives the same lips. Takes some 6 ms, so
it is meant for learning, not for every frame.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync.base import Image, Pose
from models.lipsync.plane import Matrix, as_floats, grid, sampled, to_picture

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]

STEP = 1 / 200
"""Face widths per pixel of the map."""
LEFT, TOP, RIGHT, BOTTOM = -0.32, -0.2, 0.32, 0.34
COLUMNS = 41
SEARCHED = 21
"""Places across the mouth at which a template is read, and that at which it is searched."""
DRAWS, KEPT, ROUNDS = 240, 26, 12
SEED = 20261120


@dataclass(frozen=True)
class Lips:
    """Lips in the face's plane (face widths, see plane.py).

    `x`, `y`: the middle of the upper lip's lower edge; `half`: half the distance of the corners;
    `upper`, `lower`: heights of the lips in the middle; `gap`: the opening between them there;
    `lift`: how much higher the corners lie than the middle; `tilt`: rise of the line per `half`;
    `sure`: 0..1, how much of the picture's red the lips explain; `shut`: at most 1, how red and
    even it is all the way from one lip to the other (teeth and dark are not).
    """

    x: float
    y: float
    half: float
    upper: float
    lower: float
    gap: float
    lift: float
    tilt: float
    sure: float
    shut: float


LOW = np.array([-0.07, -0.09, 0.115, 0.018, 0.028, 0.0, -0.03, -0.025])
HIGH = np.array([0.07, 0.10, 0.225, 0.062, 0.085, 0.17, 0.08, 0.025])
USUAL = np.array([0.0, -0.005, 0.17, 0.036, 0.05, 0.01, 0.012, 0.0])
SPREAD = np.array([0.035, 0.04, 0.03, 0.012, 0.015, 0.05, 0.025, 0.01])
PRIOR_WEIGHT = 0.02
CLOSED = 0.02
"""A gap in face widths below which lips count as closed."""
OPEN_CORNERS = 1.08
"""The red of open lips thins out before their corners: how much wider they are."""
START_GAPS = (0.005, 0.08)
USUAL_SKIN = np.array([0.5, 0.57, 0.75])
"""The colour of skin in even light, BGR."""
UNEVEN, CREASE = 0.4, 0.15
"""How much a difference in light between two lips counts against their being shut, and the one that
their crease makes, as shares of the cheeks' light."""


def find_lips(crop: Image, pose: Pose) -> Lips:
    """The lips of a face [H, W, 3] with this pose. Where there is too little red to go by, the
    usual lips with `sure` 0.
    """
    lab = lower_face(crop, to_picture(pose))
    red = redness(lab)
    sums = as_floats(np.vstack([np.zeros((1, red.shape[1])), np.cumsum(red, axis=0)]))
    found = [_search(sums, gap) for gap in START_GAPS]
    best = max(found, key=lambda draw: float(_score(sums, draw[None])[0]))
    whole = float(np.maximum(red, 0).sum()) + 1e-6
    sure = float(np.clip(_covered(sums, best[None])[0] / whole, 0, 1))
    if sure < 0.05:
        best = USUAL.copy()
    if best[5] < CLOSED:
        best = _parted(_valleys(lab), best)
    else:
        best[2] *= OPEN_CORNERS
    numbers = [*best, sure, _shut(red, lab, best)]
    return Lips(*(float(v) for v in numbers))


def lower_face(crop: Image, matrix: Matrix) -> Floats:
    """The part of the plane where lips may be, in Lab colours, [h, w, 3]; `matrix` takes (u, v, 1)
    to the crop's pixels.
    """
    width, height = round((RIGHT - LEFT) / STEP), round((BOTTOM - TOP) / STEP)
    picture = sampled(crop, matrix @ grid(LEFT, TOP, STEP), width, height)
    even = balanced(picture, np.median(_cheeks(as_floats(picture)), axis=0))
    lab = cv2.cvtColor(even, cv2.COLOR_BGR2Lab)
    return as_floats(cv2.GaussianBlur(lab, (0, 0), 1.0))


def balanced(picture: Image | Floats, skin: Floats) -> Floats:
    """The picture [h, w, 3] BGR 0..255 as 0..1 in a light in which its skin (BGR [3]) has the usual
    colour: under blue, yellow or little light lips are redder than skin, too, but skin is not what
    Lab takes for it (a von Kries adaptation).
    """
    gains = USUAL_SKIN / np.maximum(skin, 8.0)
    return as_floats(picture * as_floats(gains))


def redness(lab: Floats) -> Doubles:
    """A map over the lower face, about +1 on lips and -1 on skin, beard, teeth and dark."""
    height, width = lab.shape[:2]
    skin = _cheeks(lab)
    a, b = float(np.median(skin[:, 1])), float(np.median(skin[:, 2]))
    away = (lab[..., 1] * b - lab[..., 2] * a) / max(np.hypot(a, b), 4.0)
    v = TOP + np.arange(height) * STEP
    u = LEFT + np.arange(width) * STEP
    near = np.exp(-((u / 0.2) ** 4))[None] * np.exp(-(((v - 0.03) / 0.14) ** 4))[:, None]
    floor = float(np.median(away))
    peak = float(np.percentile(away[near > 0.5], 92))
    middle, half = (peak + floor) / 2, max((peak - floor) / 2, 1.5)
    return np.asarray(np.clip((away - middle) / half, -1, 1) * near, np.float64)


def skin_light(lab: Floats) -> float:
    """The lightness (0..100) of the skin beside the mouth."""
    return max(float(np.median(_cheeks(lab)[:, 0])), 1.0)


def _cheeks(lab: Floats) -> Floats:
    """Lab colours of the skin left and right of the mouth, [n, 3]."""
    height, width = lab.shape[:2]
    rows = slice(int(0.2 * height), int(0.55 * height))
    left = lab[rows, int(0.06 * width) : int(0.18 * width)]
    right = lab[rows, int(0.82 * width) : int(0.94 * width)]
    return np.concatenate([left.reshape(-1, 3), right.reshape(-1, 3)])


def _valleys(lab: Floats) -> Doubles:
    """How much darker a pixel is than what lies above and below it, 0..1: closed lips meet in such
    a valley.
    """
    light = lab[..., 0]
    reach = 5
    above = np.roll(light, reach, axis=0)
    below = np.roll(light, -reach, axis=0)
    return np.clip((np.minimum(above, below) - light) / 8, 0, 1).astype(np.float64)


def _search(sums: Floats, gap: float) -> Doubles:
    """The best template found from lips that are open by `gap`."""
    mean, spread = USUAL.copy(), SPREAD * 1.5
    mean[5] = gap
    best, best_score = USUAL, -np.inf
    for chances in _chances():
        draws = np.clip(mean + spread * chances, LOW, HIGH)
        draws[0] = np.clip(mean, LOW, HIGH)
        score = _score(sums, draws)
        order = np.argsort(-score)[:KEPT]
        if score[order[0]] > best_score:
            best, best_score = draws[order[0]], float(score[order[0]])
        mean = 0.3 * mean + 0.7 * draws[order].mean(axis=0)
        spread = 0.3 * spread + 0.7 * draws[order].std(axis=0) + 1e-4
    return best


@cache
def _chances() -> Doubles:
    """Normal numbers for every round and draw, [ROUNDS, DRAWS, 8]; the same for all pictures."""
    return np.random.default_rng(SEED).standard_normal((ROUNDS, DRAWS, len(USUAL)))


def _score(sums: Floats, draws: Doubles) -> Doubles:
    """What is maximised, [n], for templates [n, 8]: red pixels covered, less what is unlikely."""
    score: Doubles = _covered(sums, draws) - _unlikely(draws) * sums.shape[1] ** 2
    return score


def _parted(valleys: Doubles, draw: Doubles) -> Doubles:
    """Closed lips with the line where they meet moved and bent onto the valley between them: red
    alone does not tell where one ends.
    """
    whole = draw[3] + draw[4] + draw[5]
    shares, lifts, tilts = (
        part.ravel()
        for part in np.meshgrid(
            np.linspace(0.25, 0.7, 19), np.linspace(-0.045, 0.045, 16), np.linspace(-0.02, 0.02, 5)
        )
    )
    tries = np.repeat(draw[None], len(shares), axis=0)
    tries[:, 1] = draw[1] - draw[3] + shares * whole
    tries[:, 3], tries[:, 4], tries[:, 5] = shares * whole, (1 - shares) * whole, 0.0
    tries[:, 6], tries[:, 7] = lifts, tilts
    unusual = 0.3 * (shares - 0.42) ** 2 + (0.8 * (lifts - USUAL[6])) ** 2 + tilts**2
    best: Doubles = tries[int(np.argmax(_in_valley(valleys, tries) - unusual))]
    return best


def _in_valley(valleys: Doubles, draws: Doubles) -> Doubles:
    """Mean valley under the line where the lips meet, [n]."""
    x, y, half, _, _, _, lift, tilt = (column[:, None] for column in draws.T)
    t = np.linspace(-0.88, 0.88, COLUMNS)[None]
    line = y - lift * t * t + tilt * t
    row = np.clip(np.rint((line - TOP) / STEP), 0, valleys.shape[0] - 1).astype(np.intp)
    column = np.clip(np.rint((x + t * half - LEFT) / STEP), 0, valleys.shape[1] - 1)
    mean: Doubles = valleys[row, column.astype(np.intp)].mean(axis=1)
    return mean


def _unlikely(draws: Doubles) -> Doubles:
    apart = (((draws - USUAL) / SPREAD) ** 2).mean(axis=1)
    return np.asarray(PRIOR_WEIGHT * apart)


def _covered(sums: Floats, draws: Doubles) -> Doubles:
    """Red under both lips, [n], of templates [n, 8]: `sums` adds it up from the top, so it is read
    at the lips' four edges. Arrays stay small: large ones cost more to get than to fill.
    """
    x, y, half, upper, lower, gap, lift, tilt = as_floats(draws / STEP).T
    curves = _curves()
    columns = np.stack([x - np.float32(LEFT / STEP), half], axis=1) @ curves[[0, 2]]
    line = np.stack([y - np.float32(TOP / STEP), -lift, tilt], axis=1) @ curves[:3]
    low = line + gap[:, None] * curves[4]
    covered = _read(sums, columns, line)
    covered -= _read(sums, columns, line - upper[:, None] * curves[3])
    covered += _read(sums, columns, low + lower[:, None] * curves[3])
    covered -= _read(sums, columns, low)
    return np.asarray(covered.mean(axis=1) * (2 * half), np.float64)


@cache
def _curves() -> Floats:
    """What the lips' edges are sums of, at SEARCHED places across: 1, t², t, half a circle, an
    arch.
    """
    t = np.linspace(-1, 1, SEARCHED)
    arch = 1 - t * t
    return as_floats(np.stack([np.ones(SEARCHED), t * t, t, np.sqrt(arch), arch]))


def _read(sums: Floats, columns: Floats, rows: Floats) -> Floats:
    read = cv2.remap(sums, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return as_floats(read)


def _shut(red: Doubles, lab: Floats, draw: Doubles) -> float:
    """The least red on the way from the upper lip down to the lower one, as a share of 1 and the
    mean over the mouth's middle: teeth and dark are low wherever they lie, so it does not matter
    whether the template has found the lips' inner edges. Small pictures have too few samples of
    colour for that, so what differs in light on the way counts against it, too.
    """
    x, y, half, upper, lower, gap, lift, tilt = (float(v) for v in draw)
    t, share = np.meshgrid(np.linspace(-0.65, 0.65, COLUMNS), np.linspace(0, 1, 25))
    line = y - lift * t * t + tilt * t
    arch = 1 - t * t
    top = line - 0.8 * upper * np.sqrt(arch)
    bottom = line + gap * arch + 0.8 * lower * np.sqrt(arch)
    row = np.clip(np.rint((top + (bottom - top) * share - TOP) / STEP), 0, red.shape[0] - 1)
    column = np.clip(np.rint((x + t * half - LEFT) / STEP), 0, red.shape[1] - 1)
    way = row.astype(np.intp), column.astype(np.intp)
    seen = cv2.GaussianBlur(red[way], (0, 0), 1.0)
    light = lab[..., 0][way]
    uneven = float(np.ptp(light, axis=0).mean() / max(float(np.median(_cheeks(lab)[:, 0])), 1.0))
    return float((seen.min(axis=0).mean() + 1) / 2) - UNEVEN * max(0.0, uneven - CREASE)


def arrays_of(lips: Lips) -> Doubles:
    """The ten numbers, float64 [10]."""
    return np.array(astuple(lips))
