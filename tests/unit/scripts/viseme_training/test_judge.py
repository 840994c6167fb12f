"""The judge finds a known lag and a known likeness."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from models.audio.base import SpeechModel
from scripts.viseme_training import judge

SECONDS = 4


def drive(times: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sin(2 * np.pi * 1.3 * times) ** 2 * (1 + 0.5 * np.sin(5 * times))


class Late(SpeechModel):
    """Gives `drive` of 60 ms ago whatever it hears."""

    name = "late"
    before_s = 0.5
    after_s = 0.1

    def features(
        self, samples: NDArray[np.float32], start_s: float, times_s: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        assert start_s + len(samples) / 16000 >= times_s[-1] + self.after_s
        return np.stack([drive(times_s - 0.06)] * 5, axis=1).astype(np.float32)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Sound of 48 kHz stereo, as loud as `drive`."""
    path = tmp_path / "clip.wav"
    times = np.arange(SECONDS * 48000) / 48000
    mono = (drive(times) * 9000 * np.sin(2 * np.pi * 300 * times)).astype(np.int16)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("pcm_s16le", rate=48000, layout="stereo")
        frame = av.AudioFrame.from_ndarray(np.repeat(mono, 2)[None], format="s16", layout="stereo")
        frame.sample_rate = 48000
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def test_a_clip_becomes_16_khz_mono(clip: Path) -> None:
    samples = judge.clip_sound(clip)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(SECONDS * 16000, abs=200)
    assert 0.2 < np.abs(samples).max() < 0.6


def test_lag_and_correlation_are_found(clip: Path, tmp_path: Path) -> None:
    series = tmp_path / "clip.npz"
    np.savez(series, s=drive(np.arange(SECONDS * 25) / 25), r=25.0)
    row = judge.follow(Late(), clip, series)
    assert row.clip == "clip"
    assert row.lag_ms == pytest.approx(60, abs=20)
    assert row.best > 0.98
    assert row.correlation < row.best
    assert row.energy > 0.6
