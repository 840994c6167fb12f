"""How far the jaw hangs in a frame, read from the lower lip, which rides on it.

What it is not: the opening of the mouth (teeth closed behind parted lips move the lip a little, an
open jaw moves it much), and no landmark model. The chin itself would tell a dropped jaw from a
nod no better: both carry it down, but a nod hardly moves the lip, which lies near the line about
which the face is laid over the learned one (align.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync import align
from models.lipsync.lips import Lips, balanced

Floats = NDArray[np.floating[Any]]

HALF = 0.05
"""Half the width of the strip that is read, face widths."""
ABOVE, BELOW = 0.05, 0.28
"""How far around the line of the closed lips the lower lip's edge is looked for, face widths."""
CHIN = 0.08
"""How much of the chin below that is compared with, face widths."""
LIP, EDGE = 0.6, 0.4
"""Redness of a lip and at its edge, as shares of the closed lips' redness."""
FAINT, LEAST = 3.0, 0.4
"""A difference in Lab colour between lips and skin below which nothing is read; the least redness
of a frame's lips, as a share of the learned ones'."""
SLACK, MOST = 0.01, 0.2
"""A drop that counts for nothing (a parted lip, the reading's noise), and the largest believed,
face widths."""


@dataclass(frozen=True, eq=False)
class Jaw:
    """What is known of the learned picture: the redness of its lips (0 where too faint to read) and
    where the lower lip ends (v).
    """

    redness: float
    edge: float


def learn(lips: Lips, colours: Floats, skin_weight: Floats) -> Jaw:
    """The jaw of the learned picture, from its colours [h, w, 3] on the grid of align.py."""
    profile = _profile(lips, colours, skin_weight)
    redness = float(profile.max())
    edge = _edge(profile / max(redness, 1e-6), _rows(lips))
    if redness < FAINT or edge is None:
        return Jaw(0.0, lips.y + lips.lower)
    return Jaw(redness, edge)


def drop(jaw: Jaw, lips: Lips, colours: Floats, skin_weight: Floats) -> float:
    """How far the jaw hangs below its place in the learned picture, face widths, 0 to MOST."""
    if not jaw.redness:
        return 0.0
    profile = _profile(lips, colours, skin_weight)
    edge = _edge(profile / max(LEAST * jaw.redness, float(profile.max())), _rows(lips))
    return 0.0 if edge is None else float(np.clip(edge - jaw.edge - SLACK, 0, MOST))


def _rows(lips: Lips) -> Floats:
    """v of the rows that are read."""
    first = round((lips.y - ABOVE - align.TOP) * align.SIZE_PX)
    count = min(round((ABOVE + BELOW) * align.SIZE_PX), align.HEIGHT - first)
    return align.TOP + (first + np.arange(count)) / align.SIZE_PX


def _profile(lips: Lips, colours: Floats, skin_weight: Floats) -> Floats:
    """How much redder than the chin the strip is, row by row: the distance in (a, b) of Lab across
    the skin's hue, as in lips.py.
    """
    skin = align.mean_colour(colours, skin_weight)
    lab = cv2.cvtColor(balanced(colours, skin), cv2.COLOR_BGR2Lab)
    a, b = (float(np.average(lab[..., k], weights=skin_weight)) for k in (1, 2))
    rows = np.rint((_rows(lips) - align.TOP) * align.SIZE_PX).astype(np.intp)
    chin = rows[-1] + 1 + np.arange(round(CHIN * align.SIZE_PX))
    left = round((lips.x - HALF - align.LEFT) * align.SIZE_PX)
    right = round((lips.x + HALF - align.LEFT) * align.SIZE_PX) + 1
    strip = lab[np.minimum(np.append(rows, chin), align.HEIGHT - 1), left:right].mean(axis=1)
    across: Floats = (strip[:, 1] * b - strip[:, 2] * a) / max(float(np.hypot(a, b)), 4.0)
    return across[: len(rows)] - float(np.median(across[len(rows) :]))


def _edge(profile: Floats, rows: Floats) -> float | None:
    """Where the lowest lip ends, between two rows; None where nothing is as red as a lip."""
    lips = np.flatnonzero(profile >= LIP)
    if not len(lips):
        return None
    below = np.flatnonzero(profile[lips[-1] :] < EDGE)
    if not len(below):
        return float(rows[-1])
    last = int(lips[-1] + below[0] - 1)
    part = (profile[last] - EDGE) / max(float(profile[last] - profile[last + 1]), 1e-6)
    return float(rows[last] + part * (rows[last + 1] - rows[last]))
