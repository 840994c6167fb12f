"""What every speech model must hold, run on each of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.audio import mel, viseme
from models.audio.base import SAMPLE_RATE_HZ, SpeechModel
from tests.data import musetalk

Load = Callable[[str, Path], SpeechModel]
LOADERS: dict[str, Load] = {
    "mel": mel.load,
    "viseme-audio": viseme.load,
    "whisper": lambda device, weights_dir: musetalk.speech_model(),
}
SECONDS = 9.0
PADDING = 600_000
# How far models may look: Whisper's pieces of 30 s lie on a grid of their own.
REACH_S = {"whisper": (30.1, 30.2)}


@cache
def model(name: str) -> SpeechModel:
    return LOADERS[name]("cpu", Path("weights"))


@cache
def sound() -> NDArray[np.float32]:
    """Noise and tones that come and go, nothing like speech, with a stretch of zeros."""
    rng = np.random.default_rng(5)
    times = np.arange(round(SECONDS * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    swell = np.sin(2 * np.pi * 2.3 * times) ** 2 * (0.3 + 0.3 * np.sin(times))
    tone = np.sign(np.sin(2 * np.pi * 130 * times))
    out = swell * (0.3 * tone + 0.1 * rng.standard_normal(len(times)))
    out[60_000:70_000] = 0
    return out.astype(np.float32)


def window(
    speech: SpeechModel, times_s: NDArray[np.float64], more: int = 0
) -> tuple[NDArray[np.float32], float]:
    """The samples that `times_s` need, `more` beyond that on either side, and where they start."""
    begin = int(np.floor((times_s[0] - speech.before_s) * SAMPLE_RATE_HZ)) - more
    end = int(np.ceil((times_s[-1] + speech.after_s) * SAMPLE_RATE_HZ)) + more
    padded = np.pad(sound(), PADDING)
    return padded[begin + PADDING : end + PADDING], begin / SAMPLE_RATE_HZ


@pytest.fixture(params=sorted(LOADERS))
def speech(request: pytest.FixtureRequest) -> SpeechModel:
    return model(request.param)


def test_one_float32_row_per_time(speech: SpeechModel) -> None:
    times = np.arange(0, 4, 1 / 29.97)
    got = speech.features(*window(speech, times), times)
    assert got.dtype == np.float32
    assert len(got) == len(times)
    assert np.isfinite(got).all()


def test_no_times_give_no_rows(speech: SpeechModel) -> None:
    got = speech.features(np.zeros(0, np.float32), 0.0, np.zeros(0))
    assert len(got) == 0


def test_the_model_names_itself_and_bounds_its_reach(speech: SpeechModel) -> None:
    assert speech.name in LOADERS
    before_s, after_s = REACH_S.get(speech.name, (1.5, 0.25))
    assert 0 < speech.before_s <= before_s
    assert 0 < speech.after_s <= after_s


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(LOADERS)),
    start=st.floats(0, 5),
    fps=st.sampled_from([10.0, 23.976, 25.0, 29.97, 60.0]),
    count=st.integers(1, 60),
    more=st.integers(0, 20_000),
)
def test_features_are_the_same_in_every_window(
    name: str, start: float, fps: float, count: int, more: int
) -> None:
    times = start + np.arange(count) / fps
    tight = model(name).features(*window(model(name), times), times)
    wide = model(name).features(*window(model(name), times, more), times)
    one = model(name).features(*window(model(name), times[-1:]), times[-1:])
    assert np.abs(tight - wide).max() < 1e-4
    assert np.abs(tight[-1:] - one).max() < 1e-4


def test_sound_within_the_reach_changes_the_feature(speech: SpeechModel) -> None:
    times = np.array([2.0])
    samples, start = window(speech, times)
    changed = samples.copy()
    changed[round((times[0] - start) * SAMPLE_RATE_HZ) - 2000 :] = 0
    before, after = speech.features(samples, start, times), speech.features(changed, start, times)
    assert np.abs(before - after).max() > 1e-3
