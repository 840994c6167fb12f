"""How a mouth changes with the speech feature: for every point of the new face, which point of the
learned face is shown there, and where the mouth is open.

What it is not: pixels or colours (mouth.py). Everything is a smooth formula in the face's plane
(plane.py), so it is cheap on a coarse grid and has no triangles to flip. The amounts (a lower lip
that does most of the opening, an upper lip that does little, corners that come in for rounding) are
those that a face mesh shows on people who speak, rounded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.lipsync.lips import Lips

Floats = NDArray[np.floating[Any]]

FEATURES = 5
"""Opening, width, rounding, teeth, closure."""
OPEN_WIDEST = 0.12
"""Distance of the lips at opening 1, in face widths (a fifth of the distance of the outer eye
corners)."""
PARTING = 0.018
"""What any opening begins with, face widths: lips are soft, and a gap shows only from there."""
PRESS_FROM, PRESS_TO = 0.45, 0.8
"""The closure that begins to take from an opening, and the one that shuts any: a recording often
hints at lip sounds that nobody made."""
UPPER_SHARE = 0.12
"""The upper lip's share of an opening."""
CLOSING_UPPER_SHARE = 0.3
"""The upper lip's share of the way when lips that were learned open are closed."""
UPPER_REACH, LOWER_REACH = 0.105, 0.275
"""How far above and below the lips the face moves with them: to the nose, to the chin's edge."""
CHIN_SHARE = 0.4
"""The chin's share of an opening."""
SPEAKING = 0.078
"""An opening, face widths, from which the source's own jaw is let be: less and less of it is taken
back up to there, for an open mouth goes with an open jaw, whoever's."""
HIDDEN = 0.19
"""How far below the line of the lips the painted mouth hides the frame wholly, face widths."""
MOST_RAISED = 0.11
"""The most that a chin is taken up, face widths: skin must not fold."""
CHIN_HALF, CHIN_EDGE, NECK = 0.25, 0.29, 0.17
"""Half the chin's width, its edge below the lips, and how far the neck below it gives way."""
LEAST_LIFT, MOST_LIFT = -0.01, 0.03
"""What the corners of a mouth at rest may be lifted by, face widths."""
INNER = 0.98
"""Where the opening's corners lie between those of the lips."""
ROUND = 0.6
"""How blunt the lower edge of the opening is: 1 is a parabola, less reaches into the corners."""
INSIDE, INSIDE_REACH = 0.013, 0.022
"""How far within the lips their learned edge is taken, lest teeth or dark stick to it."""


@dataclass(frozen=True, eq=False)
class Field:
    """On the points given, each an array of their shape, in face widths: where the upper and the
    lower part of the face are taken from (`u`, `upper_v`, `lower_v`), how far a point lies below
    the upper lip's edge and below the lower lip's edge, its place between the corners (-1..1),
    how far it lies below the line of the closed lips, and how far down (or up) the frame's own
    chin moves there.
    """

    u: Floats
    upper_v: Floats
    lower_v: Floats
    below_upper: Floats
    below_lower: Floats
    across: Floats
    below_line: Floats
    chin: Floats


def fade(t: Floats) -> Floats:
    """1 at t ≤ 0, 0 at t ≥ 1, smooth between (slope at most 1.5)."""
    t = np.clip(t, 0, 1)
    return 1 - t * t * (3 - 2 * t)


def field(lips: Lips, feature: Floats, u: Floats, v: Floats, drop: float = 0.0) -> Field:
    """The change of the face at the points (u, v) for one feature [5]; `drop` is how far the jaw
    hangs in the frame (jaw.py).
    """
    opening, width, rounding, _, closure = (float(x) for x in np.clip(feature, 0, 1))
    stretch = 0.1 * width - 0.2 * rounding
    source_u = _sideways(lips, stretch, u, v)
    t = (source_u - lips.x) / lips.half
    square = np.minimum(t * t, 1)
    arch = 1 - square
    parted = np.maximum(1 - square / INNER**2, 0)
    edge = lips.y - lips.lift * square + lips.tilt * np.clip(t, -1, 1)
    gap = lips.gap * arch
    line = edge + CLOSING_UPPER_SHARE * gap - _unbent(lips, t, square)
    press = _press(closure)
    wide = _wide(opening, press)
    upper_to = line - UPPER_SHARE * wide * parted
    lower_to = line + (1 - UPPER_SHARE) * wide * parted**ROUND
    above, below = upper_to - v, v - lower_to
    swell = 0.16 * rounding - 0.2 * press
    inside = INSIDE * min(1.0, lips.gap / 0.03)
    upper_v = v - (upper_to - edge) * fade(above / UPPER_REACH)
    upper_v += _swell(above, swell, lips.upper) - inside * _near(above, INSIDE_REACH) * arch
    jaw = _jaw(t, parted, below / (0.06 + 1.6 * wide))
    moved = (1 - UPPER_SHARE) * wide * jaw + (line - edge - gap)
    own = CHIN_SHARE * wide
    lowered = own - _raised(lips, drop, wide)
    chin = _chin(lips, u, v, lowered)
    with_lip = fade(below / LOWER_REACH)
    lower_v = v - moved * with_lip - own * chin * (1 - with_lip)
    lower_v += -_swell(below, swell, lips.lower) + inside * _near(below, INSIDE_REACH) * arch
    return Field(source_u, upper_v, lower_v, -above, below, t, v - line, lowered * chin)


def lowest(lips: Lips, feature: Floats, drop: float) -> float:
    """How far below the line of the lips anything changes, face widths."""
    opening, closure = (float(x) for x in np.clip(feature[[0, 4]], 0, 1))
    wide = _wide(opening, _press(closure))
    return CHIN_EDGE + _neck(CHIN_SHARE * wide - _raised(lips, drop, wide))


def _press(closure: float) -> float:
    """How much a closure takes from an opening, 0..1."""
    return 1 - float(fade(np.array((closure - PRESS_FROM) / (PRESS_TO - PRESS_FROM))))


def _wide(opening: float, press: float) -> float:
    """The distance of the lips, face widths."""
    parting = PARTING * (1 - math.exp(-opening / 0.06))
    return (OPEN_WIDEST * opening + parting) * (1 - press)


def _unbent(lips: Lips, t: Floats, square: Floats) -> Floats:
    """How far the line rises to take an odd bend (a pout, a broad grin) out of the rest."""
    wanted = min(max(lips.lift, LEAST_LIFT), MOST_LIFT)
    return (wanted - lips.lift) * square * fade((np.abs(t) - 1) / 0.9)


def _sideways(lips: Lips, stretch: float, u: Floats, v: Floats) -> Floats:
    """Where a point comes from when the mouth grows wider by `stretch` (a share of its width)."""
    across = (u - lips.x) / (1.9 * lips.half)
    along = (v - lips.y - lips.gap / 2) / 0.17
    near = np.exp(-(across * across + along * along))
    return np.asarray(lips.x + (u - lips.x) / (1 + stretch * near))


def _raised(lips: Lips, drop: float, wide: float) -> float:
    """How far a hanging jaw is taken back up: as far as the mouth speaks less than it does, and in
    any case so far that the frame's own lower lip lies under what is painted.
    """
    shown = lips.lower + lips.gap + drop + CHIN_SHARE * wide - HIDDEN
    quiet = drop * float(fade(np.array(wide / SPEAKING)))
    return min(max(quiet, shown, 0.0), MOST_RAISED)


def _neck(lowered: float) -> float:
    """Over what length the neck gives way, face widths: the longer the further the chin goes up,
    lest it is drawn out.
    """
    return NECK + 0.5 * max(-lowered, 0.0)


def _chin(lips: Lips, u: Floats, v: Floats, lowered: float) -> Floats:
    """How much a point moves with the chin, 0..1: it comes in under the lower lip and goes out on
    the neck.
    """
    down = v - lips.y
    rise = 1 - fade((down - 0.05) / 0.2)
    across = np.exp(-(((u - lips.x) / CHIN_HALF) ** 4))
    return np.asarray(rise * fade((down - CHIN_EDGE) / _neck(lowered)) * across)


def _near(distance: Floats, reach: float) -> Floats:
    t = np.maximum(distance, 0) / reach
    return np.asarray(np.exp(-t * t))


def _swell(distance: Floats, amount: float, height: float) -> Floats:
    """What is added to the source's distance from a lip's edge (towards it: positive means a
    thicker lip).
    """
    distance = np.maximum(distance, 0)
    return distance * (amount / (1 + amount)) * _near(distance, 1.5 * height)


def _jaw(t: Floats, parted: Floats, depth: Floats) -> Floats:
    """How much of the opening a point below the lip takes part in: at the lip as the lip does,
    further down (at depth 1) as the chin does. The change is slow enough not to fold the skin.
    """
    chin = 0.7 * np.exp(-((t / 1.25) ** 4))
    share = 1 - fade(depth)
    part: Floats = parted**ROUND * (1 - share) + chin * share
    return part
