"""Mouth-shape tracks from timed sounds: dominance functions, as in coarticulated talking heads.

What it is: pure arithmetic on numbers. What it is not: synthesis of sound.

Source of the formula: Cohen and Massaro, Modeling coarticulation in synthetic visual speech
(1993): each sound s has a dominance D_s(t) = strength * exp(-|t - centre| / reach), and the track
is the mean of the sounds' targets weighted by their dominance. Two liberties here: the dominance
is flat over the middle of the sound, so that a long vowel holds its shape, and the blend is
smoothed by a Gaussian, since lips have mass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.viseme_training.phones import REST, Phone

RATE_HZ = 100
SMOOTH_S = 0.022
# Lips that press do it quickly and for the whole of the sound: a closure's own smoothing, and how
# much longer than the sound it is.
PRESS_SMOOTH_S = 0.025
PRESS_MARGIN_S = 0.015
# The flat part of a sound's dominance, as a share of its length.
PLATEAU = 0.5
# Lips part before the first sound and close after the last one; the rest pose keeps clear by this.
REST_MARGIN_S = 0.14


@dataclass(frozen=True)
class Segment:
    """One sound's mouth between two times in seconds."""

    phone: Phone
    start_s: float
    end_s: float


def spread(phones: Sequence[Phone], start_s: float, end_s: float) -> list[Segment]:
    """The parts of one sound (a diphthong, an affricate) share its time equally."""
    edges = np.linspace(start_s, end_s, len(phones) + 1)
    return [Segment(p, float(edges[i]), float(edges[i + 1])) for i, p in enumerate(phones)]


def with_rests(segments: Sequence[Segment], length_s: float) -> list[Segment]:
    """Fill every gap, and both ends of 0..length_s, with the rest pose; join rests that touch."""
    out: list[Segment] = []
    reached = 0.0
    for segment in [*segments, Segment(REST, length_s, length_s)]:
        if segment.phone.sound or segment.start_s >= length_s:
            if segment.start_s > reached + 1e-6:
                out.append(Segment(REST, reached, segment.start_s))
            if segment.phone.sound:
                out.append(segment)
                reached = segment.end_s
    return out


def dominance(segment: Segment, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """D_s at `times_s`: strength on the plateau, fading exponentially outside it."""
    length = segment.end_s - segment.start_s
    half = 0.5 * (PLATEAU * length if segment.phone.sound else length - 2 * REST_MARGIN_S)
    centre = 0.5 * (segment.start_s + segment.end_s)
    outside = np.abs(times_s - centre) - half
    strength = segment.phone.strength
    if half < 0:  # a pause too short to rest in: the lips only tend to close
        strength *= float(np.exp(half / segment.phone.reach_s))
        outside = np.abs(times_s - centre)
    return np.asarray(strength * np.exp(-np.maximum(outside, 0) / segment.phone.reach_s))


def track(segments: Sequence[Segment], frames: int) -> NDArray[np.float32]:
    """Shapes [frames, 5] at 100 Hz (frame k at k * 10 ms), blended and smoothed, in 0..1."""
    times = np.arange(frames) / RATE_HZ
    whole = with_rests(segments, frames / RATE_HZ)
    total = np.full(frames, 1e-6)
    blend = np.zeros((frames, 5))
    for segment in whole:
        reach = 12 * segment.phone.reach_s
        low = max(0, int((segment.start_s - reach) * RATE_HZ))
        high = min(frames, int((segment.end_s + reach) * RATE_HZ) + 1)
        weight = dominance(segment, times[low:high])
        total[low:high] += weight
        blend[low:high] += weight[:, None] * np.array(segment.phone.shape)
    shapes = smooth(blend / total[:, None], SMOOTH_S * RATE_HZ)
    closed = pressed(segments, frames)
    shapes[:, 4] = np.maximum(shapes[:, 4], closed)
    shapes[:, 0] *= 1 - closed
    return shapes.astype(np.float32)


def pressed(segments: Sequence[Segment], frames: int) -> NDArray[np.float64]:
    """How far the lips are pressed together at each frame [frames]: sounds of closed lips alone."""
    closed = np.zeros((frames, 1))
    for segment in segments:
        if segment.phone.closure == 1:
            low, high = segment.start_s - PRESS_MARGIN_S, segment.end_s + PRESS_MARGIN_S
            closed[max(0, round(low * RATE_HZ)) : max(0, round(high * RATE_HZ)) + 1] = 1
    return smooth(closed, PRESS_SMOOTH_S * RATE_HZ)[:, 0]


def smooth(rows: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """A Gaussian over the first axis, `sigma` in rows; the ends are held."""
    reach = int(np.ceil(3 * sigma))
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    taps /= taps.sum()
    padded = np.pad(rows, ((reach, reach), (0, 0)), mode="edge")
    return sum_shifted(padded, taps)


def sum_shifted(padded: NDArray[np.float64], taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The valid part of a convolution of each column with symmetric `taps`."""
    length = len(padded) - len(taps) + 1
    out = np.zeros((length, padded.shape[1]))
    for i, tap in enumerate(taps):
        out += tap * padded[i : i + length]
    return out
