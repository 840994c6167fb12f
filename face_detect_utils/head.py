"""A followed head: where it is, what lies where on it, and the filter that corrects both slowly.

What it is not: the following (track.py) or the flow (flow.py). Plain arithmetic on values; what a
head is told by a detection depends on the kind of detection (see `Face.tight`).
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass, fields, replace
from typing import Any

import numpy as np

from face_detect_utils.base import Face
from face_detect_utils.flow import Move
from face_detect_utils.geometry import (
    CASCADE_LAYOUT,
    Layout,
    Square,
    layout_of,
    roll_of,
    square_of,
)

SLOW_GAIN = 0.12
"""Share of the difference to a cascade's detection that is taken over in the long run; the first
detections count more (a running mean)."""
TIGHT_GAIN = 0.3
"""The same for a network's detection, which is off by less (docs/decisions/0071)."""
STILL = Layout(*(0.0 for _ in fields(Layout)))


@dataclass(frozen=True)
class Head:
    """The followed face (centre and width of a cascade's box, roll, layout) and the filter's
    memory. `pull_*`: what is still to be corrected per frame of the next `pull_frames`.
    """

    x: float
    y: float
    width: float
    angle: float
    score: float
    hits: float = 1.0
    angle_hits: float = 0.0
    unseen: float = 0.0
    pull_x: float = 0.0
    pull_y: float = 0.0
    pull_width: float = 0.0
    pull_angle: float = 0.0
    pull_frames: float = 0.0
    layout: Layout = CASCADE_LAYOUT
    pull_layout: Layout = STILL


_PLAIN = len(fields(Head)) - 2
_LAYOUT = len(fields(Layout))
HEAD_SIZE = _PLAIN + 2 * _LAYOUT
"""How many numbers a head is."""


def numbers_of(head: Head) -> list[float]:
    """The head as HEAD_SIZE numbers."""
    plain = list(vars(head).values())[:_PLAIN]
    return [*plain, *astuple(head.layout), *astuple(head.pull_layout)]


def head_of(numbers: list[float]) -> Head:
    """The inverse of `numbers_of`."""
    layout, pull = numbers[_PLAIN : _PLAIN + _LAYOUT], numbers[_PLAIN + _LAYOUT :]
    values: list[Any] = [*numbers[:_PLAIN], Layout(*layout), Layout(*pull)]
    return Head(*values)


def begun(face: Face) -> Head:
    """A head seen for the first time."""
    angle, seen = (roll_of(face.points), 1.0) if face.points is not None else (0.0, 0.0)
    box = square_of(face)
    layout = layout_of(face, box, angle)
    return Head(box.x_px, box.y_px, box.width_px, angle, face.score, angle_hits=seen, layout=layout)


def moved(head: Head, move: Move) -> Head:
    """The head after the flow's similarity; the age since the last detection grows."""
    return replace(
        head,
        x=move.a * head.x - move.b * head.y + move.dx,
        y=move.b * head.x + move.a * head.y + move.dy,
        width=head.width * math.hypot(move.a, move.b),
        angle=head.angle + math.atan2(move.b, move.a),
        unseen=head.unseen + 1,
    )


def pulled(head: Head) -> Head:
    """One frame's share of the correction."""
    if head.pull_frames < 1:
        return head
    return replace(
        head,
        x=head.x + head.pull_x,
        y=head.y + head.pull_y,
        width=head.width + head.pull_width,
        angle=head.angle + head.pull_angle,
        layout=_sum(head.layout, head.pull_layout, 1.0),
        pull_frames=head.pull_frames - 1,
    )


def pulled_whole(head: Head) -> Head:
    """All that is left of the correction."""
    while head.pull_frames >= 1:
        head = pulled(head)
    return head


def corrected(head: Head, face: Face, frames: int) -> Head:
    """The head with a detection's correction spread over the next `frames` frames."""
    slow = TIGHT_GAIN if face.tight else SLOW_GAIN
    gain = max(slow, 1 / (head.hits + 1)) / frames
    turn, angle_hits, angle = 0.0, head.angle_hits, head.angle
    if face.points is not None:
        angle = roll_of(face.points)
        turn = max(slow, 1 / (angle_hits + 1)) / frames * (angle - head.angle)
        angle_hits += 1
    box = square_of(face)
    off = _sum(layout_of(face, box, angle), head.layout, -1.0)
    return replace(
        head,
        score=0.8 * head.score + 0.2 * face.score,
        hits=head.hits + 1,
        angle_hits=angle_hits,
        unseen=0.0,
        pull_x=gain * (box.x_px - head.x),
        pull_y=gain * (box.y_px - head.y),
        pull_width=gain * (box.width_px - head.width),
        pull_angle=turn,
        pull_layout=_sum(STILL, off, gain),
        pull_frames=float(frames),
    )


def square(head: Head) -> Square:
    """Its box."""
    return Square(head.x, head.y, head.width)


def _sum(first: Layout, second: Layout, factor: float) -> Layout:
    """first + factor * second."""
    total = np.array(astuple(first)) + factor * np.array(astuple(second))
    return Layout(*total.tolist())
