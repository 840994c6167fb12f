"""The speech model "mel": the mel spectrogram that Wav2Lip was trained on, cut for each frame.

What it is: numpy in float64; no weights, no device. What it is not: a network, or the log-mel of
the viseme model (logmel.py). Column k is centred on sample 200 k of the recording.

Sources: the settings of Wav2Lip's published weights (800-point Hann window every 200 samples, 80
bands of 55..7600 Hz, pre-emphasis 0.97, 20 dB reference, -100 dB floor, -4..4); Slaney's mel scale,
straight below 1 kHz and logarithmic above (Auditory Toolbox, Interval Research TR 1998-010).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.audio import window
from models.audio.base import SAMPLE_RATE_HZ, SpeechModel

NAME = "mel"
BANDS = 80
COLUMNS = 16

HOP = 200
WINDOW = 800
LOW_HZ, HIGH_HZ = 55.0, 7600.0
PRE_EMPHASIS = 0.97
FLOOR = 1e-5
REFERENCE_DB, MIN_DB = 20.0, -100.0
LIMIT = 4.0

COLUMNS_PER_S = SAMPLE_RATE_HZ / HOP
HALF = WINDOW // 2
SHORTEST = (COLUMNS - 1) * HOP
"""Samples of 16 columns; a shorter recording is taken for one that goes on in silence."""
_EXACT = 1e-6
"""Times come rounded: a column that is meant to begin at a whole number may lie this far below."""

_LINEAR_HZ = 200.0 / 3.0
_BREAK_HZ = 1000.0
_LOG_STEP = np.log(6.4) / 27.0


def mel(hz: NDArray[Any] | float) -> NDArray[np.float64]:
    """Slaney's mel scale: 3 mel per 200 Hz up to 1 kHz, then 27 mel per factor of 6.4."""
    high = np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    return np.asarray(np.minimum(hz, _BREAK_HZ) / _LINEAR_HZ + high)


def hertz(mels: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `mel`."""
    at = _BREAK_HZ / _LINEAR_HZ
    return np.asarray(
        np.minimum(mels, at) * _LINEAR_HZ * np.exp(_LOG_STEP * np.maximum(mels - at, 0.0))
    )


@cache
def filterbank() -> NDArray[np.float64]:
    """Triangular bands [401, 80], equally spaced in mel, each of unit area over Hz."""
    edges = hertz(np.linspace(mel(LOW_HZ), mel(HIGH_HZ), BANDS + 2))
    bins = np.arange(HALF + 1)[:, None] * (SAMPLE_RATE_HZ / WINDOW)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    sides = np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre))
    return np.asarray(np.maximum(0.0, sides) * 2.0 / (right - left))


@cache
def _hann() -> NDArray[np.float64]:
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(WINDOW) / WINDOW)


class Mel(SpeechModel):
    """Features [T, 80, 16] float32 in -4..4: sixteen columns from the frame's time on.

    `for_length` gives the model for a known recording: there the sound is reflected at the end as
    at the start, and frames that would reach past the last column take the last sixteen.
    """

    name = NAME
    before_s = 0.5
    """The last sixteen columns of a recording, and half a window, lie before its last frame."""
    after_s = 0.214

    def __init__(self, length: int | None = None) -> None:
        """`length`: samples of the whole recording; None: unknown, it goes on for ever."""
        if length is not None and length < 0:
            raise ValueError(f"length of {length} samples: 0 or more is needed")
        self._length = None if length is None else max(length, SHORTEST)

    def for_length(self, samples: int) -> Mel:
        """See `SpeechModel.for_length`."""
        return Mel(samples)

    def features(
        self, samples: NDArray[np.float32], start_s: float, times_s: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Features [T, 80, 16]; see `SpeechModel.features`.

        Raises:
            ValueError: times before 0, or what `window.check` refuses.
        """
        window.check(self, samples, start_s, times_s)
        if not len(times_s):
            return np.zeros((0, BANDS, COLUMNS), np.float32)
        if times_s[0] < 0:
            raise ValueError(f"times_s begins at {times_s[0]:g} s; 0 or later is needed")
        starts = self.starts(times_s)
        low, high = int(starts[0]), int(starts[-1]) + COLUMNS
        columns = self._columns(samples, round(start_s * SAMPLE_RATE_HZ), low, high)
        cut = np.lib.stride_tricks.sliding_window_view(columns, COLUMNS, axis=0)
        return np.ascontiguousarray(cut[starts - low])

    def starts(self, times_s: NDArray[np.float64]) -> NDArray[np.int64]:
        """The first of the sixteen columns for each time."""
        starts = np.floor(times_s * COLUMNS_PER_S + _EXACT).astype(np.int64)
        if self._length is None:
            return starts
        return np.minimum(starts, 1 + self._length // HOP - COLUMNS)

    def _columns(
        self, samples: NDArray[np.float32], first_sample: int, low: int, high: int
    ) -> NDArray[np.float32]:
        """Columns `low` up to but without `high`, as rows [n, 80]."""
        at = np.arange(low * HOP - HALF, (high - 1) * HOP + HALF)
        sound = self._emphasised(samples, first_sample, self._reflected(at))
        frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
        bands = np.abs(np.fft.rfft(frames * _hann())) @ filterbank()
        decibels = 20.0 * np.log10(np.maximum(FLOOR, bands)) - REFERENCE_DB
        scaled = 2.0 * LIMIT * (decibels - MIN_DB) / -MIN_DB - LIMIT
        return np.clip(scaled, -LIMIT, LIMIT).astype(np.float32)

    def _reflected(self, at: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of the recording for places that may lie before its start or after its end."""
        at = np.abs(at)
        if self._length is None:
            return at
        last = self._length - 1
        return np.asarray(last - np.abs(last - at))

    def _emphasised(
        self, samples: NDArray[np.float32], first_sample: int, at: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """x[n] - 0.97 x[n - 1] at the places `at`; nothing comes before the recording."""

        def read(at: NDArray[np.int64]) -> NDArray[np.float64]:
            place = at - first_sample
            there = (at >= 0) & (place >= 0) & (place < len(samples))
            sound = samples[np.clip(place, 0, len(samples) - 1)]
            return np.where(there, sound, np.float32(0)).astype(np.float64)

        return read(at) - PRE_EMPHASIS * read(at - 1)


def load(device: str, weights_dir: Path) -> Mel:
    """The model; it has no weights and takes no device (both for the registry's sake)."""
    del device, weights_dir
    return Mel()
