"""Wav2Lip's mel: its numbers, its ends, and how it is cut."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.audio.mel import COLUMNS, SHORTEST, Mel, filterbank, hertz, load, mel

GOLDEN = Path(__file__).resolve().parents[4].parent / "shared" / "golden" / "wav2lip_mel.npz"
SMALL = Path(__file__).resolve().parents[3] / "data" / "wav2lip_mel.npz"
RATES = ["23.976", "24", "25", "29.97", "30", "30000_1001", "60"]
EDGE = 16_000


@pytest.fixture(scope="module")
def golden() -> dict[str, NDArray[Any]]:
    if not GOLDEN.is_file():
        pytest.skip(f"no golden file: {GOLDEN} is absent")
    with np.load(GOLDEN) as stored:
        return dict(stored)


def frames(waveform: NDArray[np.float32], times_s: NDArray[np.float64]) -> NDArray[np.float32]:
    """The features of a whole recording, padded with zeros as the pipeline does."""
    return Mel(len(waveform)).features(np.pad(waveform, EDGE), -EDGE / 16000, times_s)


def times(count: int, rate: str) -> NDArray[np.float64]:
    return np.arange(count, dtype=np.float64) * float(1 / Fraction(rate.replace("_", "/")))


def noise(samples: int) -> NDArray[np.float32]:
    return np.random.default_rng(3).normal(0, 0.1, samples).astype(np.float32)


def test_the_bands_are_the_published_ones(golden: dict[str, NDArray[Any]]) -> None:
    assert np.abs(filterbank().T - golden["mel_basis"]).max() < 1e-7


@pytest.mark.parametrize("rate", RATES)
def test_chunks_of_speech_equal_the_reference(golden: dict[str, NDArray[Any]], rate: str) -> None:
    starts = golden[f"starts_columns161_fps{rate}"]
    got = frames(golden["waveform"], times(len(starts), rate))
    want = np.stack([golden["mel"][:, start : start + COLUMNS] for start in starts])
    assert np.abs(got - want).max() < 1e-4


@pytest.mark.parametrize("columns", [161, 801, 2401])
@pytest.mark.parametrize("rate", RATES)
def test_chunks_begin_where_the_reference_begins(
    golden: dict[str, NDArray[Any]], rate: str, columns: int
) -> None:
    want = golden[f"starts_columns{columns}_fps{rate}"]
    got = Mel((columns - 1) * 200 + 199).starts(times(len(want) + 5, rate))
    assert np.array_equal(got[: len(want)], want)
    assert (got[len(want) :] == columns - COLUMNS).all()


@pytest.mark.parametrize("rate", ["25", "29.97"])
def test_chunks_equal_the_stored_ones(rate: str) -> None:
    with np.load(SMALL) as stored:
        waveform, columns, starts = stored["waveform"], stored["mel"], stored[f"starts_{rate}"]
    want = np.stack([columns[:, start : start + COLUMNS] for start in starts])
    assert np.abs(frames(waveform, times(len(starts), rate)) - want).max() < 1e-4


def test_the_scale_and_its_inverse_agree() -> None:
    hz = np.array([0.0, 55.0, 999.0, 1000.0, 1001.0, 7600.0])
    assert hertz(mel(hz)) == pytest.approx(hz)
    assert mel(6400.0) == pytest.approx(15 + 27)


def test_silence_is_the_lowest_value() -> None:
    assert (frames(np.zeros(16_000, np.float32), times(20, "25")) == -4).all()


def test_every_window_gives_the_numbers_of_the_whole_recording() -> None:
    sound = noise(50_321)
    model = load("cpu", Path()).for_length(len(sound))
    padded = np.pad(sound, EDGE)
    whole = model.features(padded, -1.0, times(79, "25"))
    for first in (0, 3, 40, 70, 78):
        at = times(79, "25")[first : first + 9]
        begin = int(np.floor((at[0] - model.before_s) * 16_000))
        end = int(np.ceil((at[-1] + model.after_s) * 16_000))
        part = model.features(padded[begin + EDGE : end + EDGE], begin / 16_000, at)
        assert np.array_equal(part, whole[first : first + 9])


def test_the_end_is_reflected_and_not_silent() -> None:
    sound = noise(16_000)
    at = np.array([0.85])
    ended = Mel(len(sound)).features(np.pad(sound, EDGE), -1.0, at)
    endless = Mel().features(np.pad(sound, EDGE), -1.0, np.array([65 / 80]))
    assert np.array_equal(ended[0][:, :13], endless[0][:, :13])
    assert np.abs(ended[0][:, 15] - endless[0][:, 15]).mean() > 0.1


def test_a_tail_takes_the_last_sixteen_columns() -> None:
    sound = noise(16_000)
    got = frames(sound, np.array([0.8, 0.85, 0.9, 0.96]))
    assert not np.array_equal(got[0], got[1])
    assert np.array_equal(got[1], got[2])
    assert np.array_equal(got[1], got[3])


@pytest.mark.parametrize("samples", [0, 1, 300, 2999])
def test_a_recording_shorter_than_a_chunk_goes_on_in_silence(samples: int) -> None:
    sound = noise(samples)
    got = frames(sound, np.array([0.0, 0.04]))
    longer = frames(np.pad(sound, (0, SHORTEST - samples)), np.array([0.0, 0.04]))
    assert np.array_equal(got, longer)
    assert np.array_equal(got[0], got[1])


def test_a_time_before_the_recording_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or later"):
        frames(noise(16_000), np.array([-0.1, 0.2]))


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(ValueError, match="-5 samples"):
        Mel(-5)


def test_sound_that_is_no_number_is_refused() -> None:
    sound = noise(16_000)
    sound[300] = np.nan
    with pytest.raises(ValueError, match="finite"):
        frames(sound, times(5, "25"))
