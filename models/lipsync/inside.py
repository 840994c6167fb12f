"""The mouth's inside: dark, upper teeth, a hint of tongue, and the shade on the lips' inner edges.

What it is not: measured. Colours follow the brightness and the hue of the frame's skin, so that the
inside is lit like the face; shapes follow the opening. The upper teeth stay with the skull: their
edge keeps its distance from the line of the closed lips while the lips move. They are the person's
own where the video shows them (teeth.py), else drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.lipsync.shape import Field, fade

Floats = NDArray[np.floating[Any]]

EDGE = 0.008
"""Softness of a lip's edge, face widths; at least 1.5 pixels."""
SHADE = 0.008
"""How far the shade reaches over a lip, face widths."""
TOOTH = 0.042
TOOTH_EDGE = 0.03
"""Width of a tooth and how far the upper teeth reach below the closed lips, face widths."""
TEETH_SHARE = 0.6
"""Most of the opening that the upper teeth fill: below them it stays dark."""
OWN_SHARE = 0.8
"""The same of the person's own teeth, whose lower edge is known, with no teeth asked for."""
LIP_SHADOW = 0.012
"""How far the upper lip's shadow falls on the person's own teeth, face widths."""
COLOURFUL = 0.25
"""Saturation from which skin shows colours as they are."""
BRIGHTNESS = np.array([0.114, 0.587, 0.299], np.float32)
"""Rec. 601 weights of blue, green and red."""


@dataclass(frozen=True, eq=False)
class Look:
    """What the inside takes from the face: the skin's colour BGR [3], the gap between the lips of
    the learned picture (face widths), the face's width in pixels.
    """

    skin: Floats
    gap: float
    size_px: float


def where(change: Field) -> tuple[slice, slice] | None:
    """Rows and columns of the field that the inside or its shade may touch; None for none."""
    reach = 4 * SHADE
    near = (change.below_upper > -reach) & (change.below_lower < reach)
    near &= np.abs(change.across) < 1
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if not len(rows):
        return None
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def painted(
    under: Floats, look: Look, place: Floats, teeth: float, own: Floats | None = None
) -> Floats:
    """`under` [h, w, 3] with the inside painted over it.

    `place` [h, w, 4] holds, for each pixel and in face widths: below the upper lip's edge, below
    the lower lip's edge, across (-1..1), below the closed lips' line. `teeth` is 0..1. `own`
    [h, w, 4]: the person's teeth as `teeth.shown` gives them.
    """
    upper, lower = place[..., 0], place[..., 1]
    opening = upper - lower
    square = np.clip(place[..., 2] ** 2, 0, 1)
    colours = _dark(look, lower, opening, square)
    if own is None:
        cover = _teeth_cover(place, opening, square, teeth)
        enamel = _enamel(look, place, square)
    else:
        share = OWN_SHARE + (1 - OWN_SHARE) * teeth
        cover = own[..., 3] * fade((upper - share * opening) / 0.01 + 0.5)
        shadow = 0.4 * np.exp(-np.maximum(upper, 0) / LIP_SHADOW)
        enamel = own[..., :3] * look.skin * (1 - shadow)[..., None]
    colours += (enamel - colours) * cover[..., None]
    shaded = under * _shade(upper, lower, opening)[..., None]
    covered = _share(look, place)[..., None]
    mixed: Floats = shaded + (colours - shaded) * covered
    return mixed


def _share(look: Look, place: Floats) -> Floats:
    """How much of each pixel is inside the mouth, 0..1. Closed lips keep a thin line where they
    meet; a stronger one where the learned lips had to be closed.
    """
    soft = max(EDGE, 1.5 / look.size_px)
    start = 0.33 + 0.3 * min(1.0, look.gap / 0.03)
    edges = np.clip(place[..., 0] / soft + start, 0, 1)
    edges = edges * np.clip(-place[..., 1] / soft + start, 0, 1)
    share: Floats = edges * fade((np.abs(place[..., 2]) - 0.8) / 0.2)
    return share


def _dark(look: Look, lower: Floats, opening: Floats, square: Floats) -> Floats:
    """The dark with the tongue rising out of it, [h, w, 3]."""
    bright = float(look.skin @ BRIGHTNESS)
    dark = 0.06 * look.skin + _tinted(look, np.array([6, 5, 12], np.float32))
    tongue = _tinted(look, np.array([0.30, 0.28, 0.52], np.float32) * bright)
    low = fade(-lower / np.maximum(0.5 * opening, 0.02))
    mixed: Floats = dark + (tongue - dark) * (0.6 * low * (1 - square))[..., None]
    return mixed


def _tinted(look: Look, colour: Floats) -> Floats:
    """A colour as it looks where skin has little colour (in black and white none)."""
    most = float(look.skin.max())
    share = min(1.0, (most - float(look.skin.min())) / max(most, 1.0) / COLOURFUL)
    grey = float(colour @ BRIGHTNESS)
    tinted: Floats = grey + (colour - grey) * share
    return tinted


def _teeth_cover(place: Floats, opening: Floats, square: Floats, teeth: float) -> Floats:
    """Where the upper teeth are seen, 0..1."""
    reach = TOOTH_EDGE * (0.25 + 0.75 * teeth) * (1 - 0.5 * square)
    beyond = np.maximum(place[..., 3] - reach, place[..., 0] - TEETH_SHARE * opening)
    cover: Floats = fade(beyond / 0.01 + 0.5) * fade((square - 0.3) / 0.6)
    return cover


def _enamel(look: Look, place: Floats, square: Floats) -> Floats:
    """Colours of the teeth, [h, w, 3]: whiter than the skin, darker at the gums and the sides."""
    bright = float(look.skin @ BRIGHTNESS)
    white = (0.4 * look.skin + 0.6 * bright) * min(1.2, 228.0 / max(bright, 1.0))
    apart = np.abs(np.sin((place[..., 2] * 0.17 / TOOTH + 0.5) * np.pi)) ** 0.25
    root = 1 - 0.3 * np.exp(-np.maximum(place[..., 0], 0) / 0.01)
    lit: Floats = white * ((0.88 + 0.12 * apart) * root * (1 - 0.45 * square))[..., None]
    return lit


def _shade(upper: Floats, lower: Floats, opening: Floats) -> Floats:
    """Light left on the lips' inner edges, 0..1: less where the mouth is open."""
    near = np.exp(-np.abs(upper) / SHADE) + 0.6 * np.exp(-np.abs(lower) / SHADE)
    left: Floats = 1 - 0.35 * np.minimum(near, 1) * np.clip(opening / 0.03, 0, 1)
    return left
