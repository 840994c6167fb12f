"""Where a recording is silent for long enough that the mouth can rest: a share for every frame.

What it is not: a detector of speech. It hears levels only, and errs towards speech: music, noise
and breath count as speech, and then nothing is spared. Everything follows from the whole recording
and the frame rate, so it is the same wherever rendering begins.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from models.audio import loudness
from models.audio.base import SAMPLE_RATE_HZ
from trans_dh_service.speech import FULL_SCALE, Sound

MARGIN_S = 0.3
"""Resting frames are so far from any sound: lips close and open around words, networks look ahead
about as far."""
SHORTEST_S = 0.6
"""Shorter stretches are not worth a change of painters."""
FADE_S = 0.16
"""Over the first and last so much of a stretch both are painted."""
DIGITAL_DB = -80.0
"""Levels below count as so much: the noise of 16 bits and of dither lies there."""
ABOVE_FLOOR_DB = 8.0
BELOW_LOUD_DB = 24.0
"""Silence is less than the first above the noise floor and more than the second below the loudest
half second. A poor recording of 1961 (noise 31 dB below the voice) still shows its pauses."""
HYSTERESIS_DB = 3.0
LOUD_BLOCKS = 25


class Quiet:
    """How much the mouth rests in each output frame."""

    def __init__(self, sound: Sound, fps: Fraction, frames: int) -> None:
        self._shares = shares(heard(levels(sound)), fps, frames)

    def share(self, index: int) -> float:
        """0 where the mouth speaks, 1 where it rests, between them while it fades."""
        return float(self._shares[index])

    @property
    def any(self) -> bool:
        """Whether it rests anywhere."""
        return bool(self._shares.any())

    @property
    def resting(self) -> NDArray[np.bool_]:
        """The frames in which it does nothing but rest, bool [frames]."""
        return np.asarray(self._shares == 1)


def levels(sound: Sound) -> NDArray[np.float32]:
    """The root mean square of every 20 ms in dB below full scale, held above DIGITAL_DB."""
    if not sound.speech_samples:
        return np.empty(0, np.float32)
    pcm = np.memmap(sound.pcm, np.dtype("<i2"), "r", shape=(sound.speech_samples,))
    decibels = 10 * np.log10(np.maximum(loudness.powers(pcm, FULL_SCALE), 1e-12))
    return np.asarray(np.maximum(decibels, DIGITAL_DB), np.float32)


def heard(decibels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which blocks have sound, by two thresholds: it begins above the upper one and lasts until
    the level falls below the lower one.

    The upper one is the lower of two guesses, so that neither a quiet voice in a clean recording
    nor a loud one in noise is taken for silence. The noise floor is that of what is not digital
    silence, which some tools put between sentences.
    """
    upper = DIGITAL_DB + HYSTERESIS_DB
    noisy = np.sort(decibels[decibels > upper])
    if not len(noisy):
        return np.zeros(len(decibels), np.bool_)
    loud = noisy[-min(LOUD_BLOCKS, len(noisy))]
    guess = min(np.percentile(noisy, 10) + ABOVE_FLOOR_DB, loud - BELOW_LOUD_DB)
    upper = max(upper, float(guess))
    sure = np.where(decibels > upper, 1, np.where(decibels <= upper - HYSTERESIS_DB, 0, -1))
    sure[0] = max(sure[0], 0)
    last_sure = np.maximum.accumulate(np.where(sure >= 0, np.arange(len(sure)), 0))
    return np.asarray(sure[last_sure] == 1)


def shares(sounding: NDArray[np.bool_], fps: Fraction, frames: int) -> NDArray[np.float32]:
    """The share of rest in each frame, float32 [frames]; `sounding` is per block of 20 ms."""
    still = _still(sounding, fps, frames)
    bounds = np.flatnonzero(np.diff(np.concatenate(([False], still, [False]))))
    for first, end in zip(bounds[::2], bounds[1::2], strict=True):
        if end - first < SHORTEST_S * fps:
            still[first:end] = False
    fade = max(2, round(FADE_S * fps))
    distance = np.minimum(_since_speech(still), _since_speech(still[::-1])[::-1])
    return np.minimum(1, distance / np.float32(fade + 1)).astype(np.float32)


def _still(sounding: NDArray[np.bool_], fps: Fraction, frames: int) -> NDArray[np.bool_]:
    """Frames that have no sound within MARGIN_S of the time they are shown."""
    counts = np.concatenate(([0], np.cumsum(sounding)))
    block_s = loudness.BLOCK_SAMPLES / SAMPLE_RATE_HZ
    at_s = np.arange(frames + 1) / float(fps)
    first = np.floor((at_s[:-1] - MARGIN_S) / block_s).astype(np.int64)
    end = np.ceil((at_s[1:] + MARGIN_S) / block_s).astype(np.int64)
    first, end = (np.clip(edge, 0, len(sounding)) for edge in (first, end))
    return np.asarray(counts[end] == counts[first])


def _since_speech(still: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many frames ago a frame that is not still was; very many where none was."""
    at = np.arange(len(still))
    last = np.maximum.accumulate(np.where(still, -len(still) - 1_000_000, at))
    return np.asarray(at - last)
