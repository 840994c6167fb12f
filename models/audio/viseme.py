"""The speech model "viseme-audio": 16 kHz speech to five mouth-shape numbers per video frame.

What it is: log-mel frames through a small convolutional network (ONNX Runtime, CPU, one thread),
read off at any frame times. What it is not: a recogniser of words; it needs no GPU. How the
network was trained, how well it follows real lips, and where it fails: docs/models/viseme-audio.md.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.audio import logmel, window
from models.audio.base import SAMPLE_RATE_HZ, SpeechModel
from runtime.sessions import open_session

NAME = "viseme-audio"
WEIGHTS = Path(__file__).resolve().parent.parent / "assets" / "viseme_audio.onnx"

# The columns of a feature, each 0..1; all are 0 in silence (lips closed, at rest).
SHAPES = ("opening", "width", "rounding", "teeth", "closure")

# Frames of 10 ms that the network looks at before and after the one it answers for.
LEFT_FRAMES = 55
RIGHT_FRAMES = 17
BLOCK_FRAMES = 6000
LEVEL_DB = -6.0
"""The level of a recording (its loudest half second, dB of full scale) at which the network hears
best: three real speakers lost 0.01 of correlation 6 dB below, 0.03 at 12, 0.06 at 26 dB below."""
LEAD_S = 0.0075
"""How far the lips go ahead of the sound: three real speakers' did by some 10 ms, and 0.2 s of
sound ahead (the network's 0.17, half a window, a step) leave no more room."""


class VisemeAudio(SpeechModel):
    """Features [T, 5] float32 in 0..1: opening, width, rounding, teeth, closure.

    opening: inner lips, 1 = widest speech opening; width: corners apart beyond rest; rounding:
    corners in, lips forward; teeth: how much of the teeth shows; closure: lips pressed together.
    """

    name = NAME
    before_s = 1.5
    after_s = 0.2
    level_db = LEVEL_DB

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._input = session.get_inputs()[0].name

    def features(
        self, samples: NDArray[np.float32], start_s: float, times_s: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Features [T, 5]; see `SpeechModel.features`.

        `start_s` is rounded to a whole sample, so equal numbers from two windows need starts on
        the 16 kHz grid. Raises ValueError for a wrong shape or type, for values that are not
        finite, times that fall, or samples that do not reach far enough.
        """
        window.check(self, samples, start_s, times_s)
        return self._rows(samples, start_s, times_s)[:, : len(SHAPES)]

    def voice(
        self, samples: NDArray[np.float32], start_s: float, times_s: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """How likely it is, [T] in 0..1, that somebody speaks at each time; windows and errors as
        `features`. Where it is below 0.2 all shapes are zeros.
        """
        window.check(self, samples, start_s, times_s)
        return self._rows(samples, start_s, times_s)[:, len(SHAPES)]

    def _rows(
        self, samples: NDArray[np.float32], start_s: float, times_s: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """The shapes and the voice at the times, [T, 6]."""
        if len(times_s) == 0:
            return np.zeros((0, len(SHAPES) + 1), np.float32)
        times_s = times_s + LEAD_S
        first = math.floor(times_s[0] * logmel.FRAMES_PER_S)
        last = math.ceil(times_s[-1] * logmel.FRAMES_PER_S)
        shapes = self._shapes(samples, round(start_s * SAMPLE_RATE_HZ), first, last - first + 1)
        return _sample(shapes, times_s * logmel.FRAMES_PER_S - first)

    def _shapes(
        self, samples: NDArray[np.float32], first_sample: int, first: int, frames: int
    ) -> NDArray[np.float32]:
        """The network's output [frames, 6] from frame `first`, in blocks of a minute."""
        around = LEFT_FRAMES + RIGHT_FRAMES
        blocks = []
        for begin in range(0, frames, BLOCK_FRAMES):
            count = min(BLOCK_FRAMES, frames - begin)
            seen = logmel.channels(
                samples, first_sample, first + begin - LEFT_FRAMES, count + around
            )
            fed = np.ascontiguousarray(seen.T[None])
            blocks.append(self._session.run(None, {self._input: fed})[0][0].T)
        return np.concatenate(blocks)


def _sample(rows: NDArray[np.float32], at: NDArray[np.float64]) -> NDArray[np.float32]:
    """Rows [n, 6] read at the fractional positions `at`, by straight lines between them."""
    below = np.minimum(at.astype(np.int64), len(rows) - 1)
    above = np.minimum(below + 1, len(rows) - 1)
    part = (at - below).astype(np.float32)[:, None]
    return np.asarray(rows[below] * (1 - part) + rows[above] * part, np.float32)


def load(device: str, weights_dir: Path) -> VisemeAudio:
    """Open the network that ships with the code.

    It always runs on the CPU: it is 200 times faster than speech there, and the device is kept
    for the lip-sync backend. `device` and `weights_dir` are taken for the registry's sake.
    """
    del device, weights_dir
    return VisemeAudio(open_session(WEIGHTS, "cpu", threads=1))
