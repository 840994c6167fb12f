"""Log-mel frames agree with the formula written out, and depend on nothing far away."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.audio import logmel


def noise(length: int, seed: int = 0, scale: float = 0.1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, scale, length).astype(np.float32)


def direct(samples: NDArray[np.float32], frame: int) -> list[float]:
    """One frame by the textbook: a slow Fourier sum and triangles in mel."""
    n = np.arange(logmel.WINDOW)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / logmel.WINDOW)
    begin = frame * logmel.HOP - logmel.WINDOW // 2
    part = samples[begin : begin + logmel.WINDOW].astype(np.float64) * hann
    bins = np.arange(logmel.FFT // 2 + 1)
    waves = np.exp(-2j * np.pi * bins[:, None] * n / logmel.FFT)
    power = np.abs(waves @ part) ** 2 / np.sum(hann**2)

    def mel(hz: float) -> float:
        return 2595 * math.log10(1 + hz / 700)

    low, high = mel(logmel.LOW_HZ), mel(logmel.HIGH_HZ)
    step = (high - low) / (logmel.BANDS + 1)
    out = []
    for band in range(logmel.BANDS):
        peak = low + (band + 1) * step
        weights = [max(0.0, 1 - abs(mel(16000 / logmel.FFT * b) - peak) / step) for b in bins]
        out.append(math.log(float(np.dot(weights, power)) / sum(weights) + logmel.FLOOR))
    hz = bins * 16000 / logmel.FFT
    heard = (hz > 93) & (hz < 7601)  # whole bins nearest to 100 and 7600 Hz
    return [*out, math.log(float(power[heard].mean()) + logmel.FLOOR)]


def test_a_frame_equals_the_formula_written_out() -> None:
    samples = noise(4000)
    got = logmel.log_mel(samples, 0, 10, 1)[0]
    assert got == pytest.approx(direct(samples, 10), abs=2e-4)


def test_white_noise_of_variance_v_gives_about_ln_v_in_every_band() -> None:
    rows = logmel.log_mel(noise(160_000, scale=0.1), 0, 10, 900)
    mean_power = np.exp(rows).mean(axis=0)
    assert mean_power == pytest.approx(np.full(logmel.BANDS + 1, 0.01), rel=0.15)


def test_digital_silence_is_the_floor() -> None:
    rows = logmel.log_mel(np.zeros(16000, np.float32), 0, 5, 20)
    assert rows == pytest.approx(np.full((20, logmel.BANDS + 1), math.log(logmel.FLOOR)), abs=1e-5)


def test_every_band_has_weight_and_sums_to_one() -> None:
    bank = logmel.filterbank()
    assert bank.shape == (257, logmel.BANDS)
    assert bank.sum(axis=0) == pytest.approx(np.ones(logmel.BANDS), abs=1e-5)


def test_long_sound_in_blocks_equals_a_short_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(80_000)
    whole = logmel.log_mel(samples, 0, 0, 450)
    monkeypatch.setattr(logmel, "BLOCK_FRAMES", 37)
    assert logmel.log_mel(samples, 0, 0, 450) == pytest.approx(whole, abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    cut=st.integers(0, 9000),
    frame=st.integers(160, 300),
    count=st.integers(1, 40),
)
def test_channels_do_not_depend_on_what_lies_beyond_their_reach(
    cut: int, frame: int, count: int
) -> None:
    samples = noise(80_000, seed=3)
    whole = logmel.channels(samples, 0, frame, count)
    begin = min(cut, frame * logmel.HOP - round(logmel.BEFORE_S * 16000))
    end = (frame + count - 1) * logmel.HOP + round(logmel.AFTER_S * 16000)
    part = logmel.channels(samples[begin:end], begin, frame, count)
    assert np.abs(whole - part).max() < 1e-4


@given(st.data(), st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=80))
def test_running_max_is_the_largest_of_the_past(data: st.DataObject, values: list[float]) -> None:
    past = data.draw(st.integers(0, len(values) - 1))
    series = np.array(values, np.float32)
    got = logmel.running_max(series, past)
    assert got.tolist() == [series[i : i + past + 1].max() for i in range(len(series) - past)]


def test_a_louder_recording_differs_in_the_level_alone() -> None:
    samples = noise(40_000)
    quiet = logmel.channels(samples, 0, 120, 50)
    loud = logmel.channels(samples * np.float32(3), 0, 120, 50)
    assert loud[:, logmel.BANDS] - quiet[:, logmel.BANDS] == pytest.approx(2 * np.log(3), abs=1e-2)
    others = [i for i in range(logmel.CHANNELS) if i != logmel.BANDS]
    assert np.abs(loud - quiet)[:, others].max() < 0.05
