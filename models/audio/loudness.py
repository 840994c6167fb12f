"""How loud a whole recording is, and what brings it to the level a speech model was trained for.

What it is not: a limiter or a meter of perceived loudness: the numbers are floats, nothing is cut.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.audio.base import SAMPLE_RATE_HZ

BLOCK_SAMPLES = SAMPLE_RATE_HZ // 50
LOUD_BLOCKS = 25
SILENT_DB = -50.0
"""A recording whose loudest half second is below this is not speech and stays as it is."""
MOST_DB = 12.0
"""The most that a recording is made louder or quieter: its noise is with it."""
_READ_BLOCKS = 4096


def powers(samples: NDArray[Any], full_scale: float = 1.0) -> NDArray[np.float32]:
    """The mean square of every 20 ms, float32 [T], the last of what is left. `samples` [N] may be a
    memory map: it is read in parts.
    """
    step = BLOCK_SAMPLES * _READ_BLOCKS
    found = [_powers(samples[at : at + step], full_scale) for at in range(0, len(samples), step)]
    return np.concatenate(found) if found else np.empty(0, np.float32)


def loudest_db(samples: NDArray[Any], full_scale: float = 1.0) -> float:
    """The root mean square of the loudest half second (of all, if shorter), dB of full scale.
    Digital silence gives -120.
    """
    power = powers(samples, full_scale)
    if not len(power):
        return -120.0
    width = min(LOUD_BLOCKS, len(power))
    loud = np.convolve(power, np.full(width, 1 / width), "valid").max()
    return float(10 * np.log10(max(float(loud), 1e-12)))


def gain(found_db: float, wanted_db: float) -> float:
    """The factor that brings a recording of `found_db` to `wanted_db`, within MOST_DB."""
    if found_db < SILENT_DB:
        return 1.0
    return float(10 ** (np.clip(wanted_db - found_db, -MOST_DB, MOST_DB) / 20))


def _powers(samples: NDArray[Any], full_scale: float) -> NDArray[np.float32]:
    square = np.square(samples.astype(np.float32) / np.float32(full_scale))
    starts = np.arange(0, len(square), BLOCK_SAMPLES)
    sizes = np.diff(np.append(starts, len(square)))
    return np.asarray(np.add.reduceat(square, starts) / sizes, np.float32)
