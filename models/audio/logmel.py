"""Log-mel frames on a fixed time grid, with loudness taken from the recent past only.

What it is: plain numpy, 16 kHz in, 100 frames a second out. What it is not: a network, or a file
reader. Frame k is centred on sample 160 k of the recording whatever window is given, and every
value depends only on the samples within `BEFORE_S` before and `AFTER_S` after its centre, so that
blocks of a long recording give the same numbers as the whole.

Sources: mel scale 2595 log10(1 + f / 700) (O'Shaughnessy, Speech Communication, 1987); triangular
bands (Davis and Mermelstein, IEEE Trans. ASSP 28, 1980); Hann window of 25 ms every 10 ms.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.audio.base import SAMPLE_RATE_HZ

Floats = NDArray[np.float32]

HOP = 160
WINDOW = 400
FFT = 512
BANDS = 40
LOW_HZ = 60.0
HIGH_HZ = 7600.0
# The whole band's level leaves out what rumbles below speech: steps, fans, a hand on a desk.
LEVEL_FROM_HZ = 100.0
FRAMES_PER_S = SAMPLE_RATE_HZ // HOP

# -80 dB of full scale per frequency bin: what is fainter than this counts as digital silence.
FLOOR = 1e-8
# Frames of the past whose loudest one sets the scale, and the quietest level taken as speech.
LEVEL_FRAMES = 90
QUIET_LN = float(np.log(1e-5))
CHANNELS = BANDS + 2

BEFORE_S = (LEVEL_FRAMES * HOP + WINDOW // 2) / SAMPLE_RATE_HZ
AFTER_S = WINDOW // 2 / SAMPLE_RATE_HZ
BLOCK_FRAMES = 2048


def mel(hz: NDArray[Any] | float) -> NDArray[np.float64]:
    """The mel scale of O'Shaughnessy."""
    return np.asarray(2595.0 * np.log10(1.0 + np.asarray(hz) / 700.0))


@cache
def filterbank() -> Floats:
    """Triangular bands [FFT / 2 + 1, BANDS], each of unit sum, equally spaced in mel."""
    points = np.linspace(mel(LOW_HZ), mel(HIGH_HZ), BANDS + 2)
    bins = mel(np.arange(FFT // 2 + 1) * (SAMPLE_RATE_HZ / FFT))[:, None]
    left, centre, right = points[:-2], points[1:-1], points[2:]
    rise = (bins - left) / (centre - left)
    fall = (right - bins) / (right - centre)
    bank = np.maximum(0.0, np.minimum(rise, fall))
    return np.asarray(bank / bank.sum(axis=0), np.float32)


@cache
def _window() -> Floats:
    hann = np.hanning(WINDOW + 1)[:-1]
    return np.asarray(hann / np.sqrt(np.sum(hann**2)), np.float32)


@cache
def _level_bins() -> slice:
    low, high = (round(hz * FFT / SAMPLE_RATE_HZ) for hz in (LEVEL_FROM_HZ, HIGH_HZ))
    return slice(low, high + 1)


def log_mel(samples: Floats, first_sample: int, first_frame: int, frames: int) -> Floats:
    """Log power [frames, BANDS + 1]: ln of each band's mean power, then of all from 100 to 7600 Hz.

    `samples` is float32 whose element 0 is sample `first_sample` of the recording; what lies
    outside it counts as zeros. White noise of variance v gives ln(v + FLOOR) in every column.
    """
    out = np.empty((frames, BANDS + 1), np.float32)
    for start in range(0, frames, BLOCK_FRAMES):
        stop = min(start + BLOCK_FRAMES, frames)
        begin = (first_frame + start) * HOP - WINDOW // 2 - first_sample
        piece = _cut(samples, begin, (stop - start - 1) * HOP + WINDOW)
        rows = np.lib.stride_tricks.sliding_window_view(piece, WINDOW)[::HOP]
        power = np.abs(np.fft.rfft(rows * _window(), FFT)) ** 2
        out[start:stop, :BANDS] = power @ filterbank()
        out[start:stop, BANDS] = power[:, _level_bins()].mean(axis=1)
    return np.asarray(np.log(out + np.float32(FLOOR)), np.float32)


def _cut(samples: Floats, begin: int, length: int) -> Floats:
    """`length` samples from `begin`, which may lie outside; zeros there."""
    piece = np.zeros(length, np.float32)
    low, high = max(begin, 0), min(begin + length, len(samples))
    if low < high:
        piece[low - begin : high - begin] = samples[low:high]
    return piece


def channels(samples: Floats, first_sample: int, first_frame: int, frames: int) -> Floats:
    """What the network sees, [frames, CHANNELS].

    The bands relative to the loudest frame of the last 0.9 s, that level itself, and how far the
    frame rises above the quietest of the last 0.9 s (steady noise does not rise).
    """
    raw = log_mel(samples, first_sample, first_frame - LEVEL_FRAMES, frames + LEVEL_FRAMES)
    level = raw[:, BANDS]
    loudest = np.maximum(running_max(level, LEVEL_FRAMES), np.float32(QUIET_LN))
    quietest = -running_max(-level, LEVEL_FRAMES)
    out = np.empty((frames, CHANNELS), np.float32)
    out[:, :BANDS] = raw[LEVEL_FRAMES:, :BANDS] - loudest[:, None]
    out[:, BANDS] = loudest
    out[:, BANDS + 1] = level[LEVEL_FRAMES:] - quietest
    return out


def running_max(series: Floats, past: int) -> Floats:
    """The largest of each value and the `past` before it: `past` values shorter than `series`.

    Doubling windows: exact (no sums that drift) and log2(past) passes.
    """
    size, width = past + 1, 1
    best = series
    while width * 2 <= size:
        best = np.maximum(best[width:], best[:-width])
        width *= 2
    rest = size - width
    return np.maximum(best[rest:], best[: len(best) - rest]) if rest else best
