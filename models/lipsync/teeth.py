"""The upper teeth of the person, taken from a frame that shows them.

What it is not: a choice of when teeth are seen (inside.py). Between red lips, what is not red and
bright enough for teeth is taken for them: chroma tells little under warm light, and the hue of lips
is known already (lips.py). Teeth belong to the skull, so their picture is kept in the face's plane
and stays there while the lips move over it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync import align
from models.lipsync.base import FaceSample, Image
from models.lipsync.lips import LEFT, STEP, TOP, Lips, lower_face, redness, skin_light
from models.lipsync.plane import Matrix, as_floats, as_image, grid, sampled

Floats = NDArray[np.floating[Any]]

ACROSS, ABOVE, BELOW = 0.2, 0.08, 0.12
"""What is kept around the middle of the closed lips: to both sides, up and down, face widths."""
FINEST, COARSEST = 1 / 640, 1 / 160
"""Face widths per pixel of what is kept; between, as fine as the frame."""
REACH = 0.13
"""How far above and below a tooth red lips are looked for, face widths."""
LEAST_AREA, MOST_AREA, LEAST_WIDTH = 0.0035, 0.016, 0.13
"""The least of teeth that is worth keeping, and the most that are teeth and not skin: square face
widths, and face widths across."""
REDDEST = -0.25
"""Mean redness (-1..1) of what is no tongue or lower lip."""
EDGES = (0.45, 0.55, 0.65, 0.75)
"""Paleness at the edge of a tooth: the first at which the teeth do not run into the skin."""
GUM = 0.35
"""The share of what is seen of a tooth that gums and the lip's shadow may colour."""
END, CORRIDOR = 0.01, 0.045
"""What is cut from the row's ends, and how far from there the teeth go on into the dark of the
cheeks, face widths."""
JAGGED = 0.001
"""A row whose lower edge leaps by this from column to column counts half: it holds some lip."""
FAR_ASIDE = 0.04
"""A row whose middle is this far from the lips' counts half: the head was turned."""
NOTCH, SOFT = 0.02, 0.006
"""Half the width of gaps in the lower edge that are filled, and its softness, face widths."""
LIP_BELOW = 0.015
"""How far below a tooth a lip hides its edge, face widths."""
PALE = 1.2
"""Weight of redness (a of Lab) against lightness in what tells teeth from lips and from the dark:
under warm light teeth have the skin's chroma, but they are lighter than the one and less red than
the other."""


@dataclass(frozen=True, eq=False)
class Teeth:
    """`layers` uint8 [h, w, 4]: a picture of the upper teeth, BGR, and how much of a pixel they
    are; `skin`: the skin's colour BGR [3] in the same frame. The first pixel lies ACROSS to the
    left of and ABOVE the middle of the rest's lips.
    """

    layers: Image
    skin: Floats

    @property
    def step(self) -> float:
        """Face widths per pixel."""
        return 2 * ACROSS / int(self.layers.shape[1])


@dataclass(frozen=True, eq=False)
class Face:
    """What the samples are laid over: the rest's template, its lips, where its skin is compared."""

    template: align.Template
    lips: Lips
    skin_weight: Floats


@dataclass(frozen=True, eq=False)
class Row:
    """The edges of the upper teeth in the plane: `top` and `bottom` at each `u`; the
    teeth's area; the share of their lower edge that no lip hides.
    """

    u: Floats
    top: Floats
    bottom: Floats
    area: float
    free: float


def find(face: Face, samples: Sequence[FaceSample]) -> Teeth | None:
    """The best view of the upper teeth among the samples, or None where no sample shows enough of
    them; 2 ms per sample.
    """
    best: tuple[float, FaceSample, align.Fit, Row] | None = None
    for sample in samples:
        fit = align.align(face.template, sample.crop, sample.pose)
        row = _upper_row(lower_face(sample.crop, fit.matrix), face.lips)
        if row is None:
            continue
        aside = abs((row.u[0] + row.u[-1]) / 2 - face.lips.x) / FAR_ASIDE
        worth = row.area * (0.3 + row.free) * (1 - min(fit.residual, 0.9)) / (1 + aside * aside)
        worth /= 1 + float(np.abs(np.diff(row.bottom)).mean()) / JAGGED
        if best is None or worth > best[0]:
            best = worth, sample, fit, row
    return None if best is None else _kept(face, *best[1:])


def _upper_row(lab: Floats, lips: Lips) -> Row | None:
    """The upper teeth alone: in every column what hangs together from the top. None where there is
    too little.
    """
    red = as_floats(redness(lab))
    near = np.abs(LEFT + np.arange(red.shape[1]) * STEP - lips.x) < ACROSS
    between = _between(red) * near
    seed = _largest((between > 0.5) & (red < -0.1) & (lab[..., 0] > 0.6 * skin_light(lab)))
    if seed is None:
        return None
    pale = _paleness(lab, red, seed)
    rows = (_around(seed, pale > edge) for edge in EDGES)
    row = next((row for row in rows if float(row.sum()) * STEP**2 < MOST_AREA), None)
    if row is None:
        return None
    columns = np.flatnonzero(row.any(axis=0))
    area, wide = float(row.sum()) * STEP**2, (columns[-1] - columns[0] + 1) * STEP
    if area < LEAST_AREA or wide < LEAST_WIDTH or float(red[row].mean()) > REDDEST:
        return None
    ends = np.array([_first_run(np.flatnonzero(row[:, x])) for x in columns])
    top, bottom = (cv2.medianBlur(as_floats(edge)[None], 5)[0] for edge in ends.T)
    below = np.clip(np.rint(bottom + LIP_BELOW / STEP), 0, len(red) - 1).astype(np.intp)
    free = float(np.mean(red[below, columns] < 0.3))
    return Row(LEFT + columns * STEP, TOP + top * STEP, TOP + (bottom + 0.5) * STEP, area, free)


def _between(red: Floats) -> Floats:
    """How surely a pixel has red lips above and below it, 0..1."""
    lips = np.maximum(red, 0)
    reach = round(REACH / STEP)
    column = np.ones((reach, 1), np.uint8)
    above = cv2.dilate(lips, column, anchor=(0, reach - 1))
    below = cv2.dilate(lips, column, anchor=(0, 0))
    return as_floats(np.clip((np.minimum(above, below) - 0.35) / 0.3, 0, 1))


def _paleness(lab: Floats, red: Floats, seed: NDArray[np.bool_]) -> Floats:
    """From 0 at the lips' colour to 1 at that of what are surely teeth: light and not red."""
    pale = lab[..., 0] - PALE * lab[..., 1]
    lips = float(np.median(pale[red > 0.6])) if (red > 0.6).any() else float(pale.min())
    core = float(np.percentile(pale[seed], 85))
    return as_floats(np.clip((pale - lips) / max(core - lips, 8.0), 0, 1))


def _around(seed: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The part of the mask that hangs together and holds most of the seed."""
    _, labels = cv2.connectedComponents((mask | seed).astype(np.uint8))
    found: NDArray[np.bool_] = labels == int(np.bincount(labels[seed]).argmax())
    return found


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The largest part that hangs together, or None where there is none."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return None
    found: NDArray[np.bool_] = labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    return found


def _first_run(rows: NDArray[np.intp]) -> tuple[int, int]:
    """First and last of the first run of neighbouring rows (a gap of two belongs to it)."""
    gaps = np.flatnonzero(np.diff(rows) > 3)
    return int(rows[0]), int(rows[gaps[0]] if len(gaps) else rows[-1])


def _kept(face: Face, sample: FaceSample, fit: align.Fit, row: Row) -> Teeth:
    """The teeth's picture at the frame's own fineness; above what is seen of a tooth its uppermost
    colour goes on, for there the lip may be higher in other frames.
    """
    step = float(np.clip(1 / max(sample.pose.size_px, 1), FINEST, COARSEST))
    width, height = round(2 * ACROSS / step), round((ABOVE + BELOW) / step)
    step = 2 * ACROSS / width
    left, above = face.lips.x - ACROSS, face.lips.y - ABOVE
    picture = sampled(sample.crop, fit.matrix @ grid(left, above, step), width, height)
    u = left + np.arange(width) * step
    y = np.arange(height, dtype=np.float32)[:, None]
    inner = np.clip(u, row.u[0] + END, row.u[-1] - END)
    beyond = np.abs(u - inner)
    bottom = (np.interp(inner, row.u, row.bottom) - above) / step
    middle = bottom - (1 - GUM) * np.interp(inner, row.u, row.bottom - row.top) / step
    edge = _closed(bottom, max(1, round(NOTCH / step))) - 0.4 * beyond / step
    x = as_floats(np.broadcast_to((inner - left) / step, (height, width)))
    seen = as_floats(np.maximum(np.minimum(y, bottom - 0.5), middle))
    drawn = cv2.remap(picture, x, seen, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    drawn = drawn * np.exp(-((beyond / CORRIDOR) ** 2))[None, :, None]
    cover = np.clip((edge - y) / max(1.0, SOFT / step) + 0.5, 0, 1)
    layers = np.dstack([as_image(drawn), as_image(np.rint(cover * 255))])
    return Teeth(layers, as_floats(align.mean_colour(fit.colours, face.skin_weight)))


def _closed(edge: Floats, reach: int) -> Floats:
    """The teeth's lower edge without notches narrower than 2 `reach` pixels, smoothed."""
    kernel = np.ones((1, 2 * reach + 1), np.uint8)
    closed = cv2.morphologyEx(as_floats(edge)[None], cv2.MORPH_CLOSE, kernel)
    return as_floats(cv2.GaussianBlur(closed, (0, 0), 0.4 * reach + 0.5)[0])


def dump(teeth: Teeth | None) -> dict[str, NDArray[Any]]:
    """The teeth as arrays, without a pixel where there are none."""
    if teeth is None:
        return {"teeth": np.zeros((0, 0, 4), np.uint8), "teeth_skin": np.zeros(3)}
    return {"teeth": teeth.layers, "teeth_skin": np.asarray(teeth.skin, np.float64)}


def restore(arrays: dict[str, NDArray[Any]]) -> Teeth | None:
    """The inverse of `dump`.

    Raises:
        KeyError: an array is missing.
        ValueError: an array has another shape or type than `dump` gives.
    """
    layers, skin = arrays["teeth"], arrays["teeth_skin"]
    if layers.dtype != np.uint8 or layers.ndim != 3 or layers.shape[2] != 4 or skin.shape != (3,):
        raise ValueError(
            f"teeth of type {layers.dtype} and shape {layers.shape}, skin of shape {skin.shape}"
        )
    if not layers.size:
        return None
    return Teeth(np.ascontiguousarray(layers), as_floats(skin))


def shown(teeth: Teeth, lips: Lips, inverse: Matrix, size: tuple[int, int]) -> Floats:
    """Picture and cover [h, w, 4] float32 as they lie in a patch of `size` (width, height) whose
    pixels `inverse` takes to the plane; colours relative to the skin's, cover 0..1.
    """
    origin = grid(lips.x - ACROSS, lips.y - ABOVE, teeth.step)
    view = cv2.warpAffine(
        teeth.layers,
        (np.linalg.inv(origin) @ inverse)[:2],
        size,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
    )
    scale = np.append(1 / np.maximum(teeth.skin, 1), 1 / 255)
    return as_floats(view * scale)
