"""How well the model's opening follows the lips of real speakers.

What it is: sound of a clip through the model that ships, against a measured series of the lips'
opening. What it is not: a measurer of lips; the series come from elsewhere as .npz files with `s`
(one number per video frame) and `r` (frames per second), named like the clips.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from models.audio import logmel, loudness
from models.audio.base import SAMPLE_RATE_HZ, SpeechModel

MAX_LAG_S = 0.2
STEP_S = 0.02


@dataclass(frozen=True)
class Follow:
    """Pearson correlation at lag 0, the best within ±0.2 s, and that lag (positive: model late)."""

    clip: str
    correlation: float
    best: float
    lag_ms: float
    energy: float


def clip_sound(path: Path) -> NDArray[np.float32]:
    """A clip's sound as 16 kHz mono, starting with its video."""
    blocks = []
    with av.open(str(path)) as media:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
        video = media.streams.video[0] if media.streams.video else None
        sound = media.streams.audio[0]
        late_s = _start_s(sound) - (_start_s(video) if video else _start_s(sound))
        for frame in media.decode(sound):
            blocks += [out.to_ndarray()[0] for out in resampler.resample(frame)]
    samples = np.concatenate(blocks).astype(np.float32)
    late = round(late_s * SAMPLE_RATE_HZ)
    return np.pad(samples, (late, 0)) if late > 0 else samples[-late:]


def _start_s(stream: av.AudioStream | av.VideoStream) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def opening(
    model: SpeechModel, samples: NDArray[np.float32], times_s: NDArray[np.float64]
) -> NDArray[np.float32]:
    """The model's opening at `times_s` of a whole recording, at the level the server gives it."""
    if model.level_db is not None:
        samples = samples * np.float32(loudness.gain(loudness.loudest_db(samples), model.level_db))
    before = round(model.before_s * SAMPLE_RATE_HZ)
    after = max(0, round((times_s[-1] + model.after_s) * SAMPLE_RATE_HZ) - len(samples)) + 160
    padded = np.pad(samples, (before, after))
    return model.features(padded, -before / SAMPLE_RATE_HZ, times_s)[:, 0]


def energy(samples: NDArray[np.float32], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The yardstick: log energy smoothed over some 100 ms, at `times_s`."""
    frames = int(times_s[-1] * logmel.FRAMES_PER_S) + 2
    level = logmel.log_mel(samples, 0, 0, frames)[:, logmel.BANDS]
    wide = np.convolve(
        np.maximum(level, np.log(1e-6)), np.hanning(17) / np.hanning(17).sum(), "same"
    )
    return np.interp(times_s, np.arange(frames) / logmel.FRAMES_PER_S, wide)


def follow(model: SpeechModel, clip: Path, series: Path) -> Follow:
    """The scores of one clip, at 50 values a second."""
    stored = np.load(series)
    truth, rate = stored["s"], float(stored["r"])
    times = np.arange(0, len(truth) / rate, STEP_S)
    true = np.interp(times, np.arange(len(truth)) / rate, truth)
    samples = clip_sound(clip)
    # read at the video's own frame times, as a pipeline would, then in between by straight lines
    frame_times = np.arange(len(truth)) / rate
    at_frames = opening(model, samples, frame_times)
    got = np.interp(times, frame_times, at_frames)
    span = round(MAX_LAG_S / STEP_S)
    by_lag = {lag: _correlation(got, true, lag) for lag in range(-span, span + 1)}
    best = max(by_lag, key=lambda lag: by_lag[lag])
    loud = _correlation(energy(samples, times), true, 0)
    return Follow(clip.stem, by_lag[0], by_lag[best], best * STEP_S * 1000, loud)


def _correlation(late: NDArray[np.float64], true: NDArray[np.float64], lag: int) -> float:
    if lag > 0:
        late, true = late[lag:], true[:-lag]
    elif lag < 0:
        late, true = late[:lag], true[-lag:]
    return float(np.corrcoef(late, true)[0, 1])
