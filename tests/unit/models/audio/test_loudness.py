"""The level of a recording and what brings it to another."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.audio.loudness import BLOCK_SAMPLES, MOST_DB, gain, loudest_db

RATE_HZ = 16000


def tone(seconds: float, amplitude: float) -> NDArray[np.float32]:
    times = np.arange(round(seconds * RATE_HZ))
    return np.asarray(amplitude * np.sin(times * 0.2), np.float32)


def test_the_level_is_that_of_the_loudest_half_second() -> None:
    sound = np.concatenate([tone(2, 0.01), tone(0.6, 0.5), tone(2, 0.02)])
    assert loudest_db(sound) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.05)


def test_whole_numbers_of_a_file_give_the_same_level() -> None:
    sound = tone(3, 0.25)
    assert loudest_db((sound * 32768).astype("<i2"), 32768.0) == pytest.approx(
        loudest_db(sound), abs=0.01
    )


def test_a_long_recording_is_read_in_parts_with_the_same_result() -> None:
    sound = np.concatenate([tone(100, 0.01), tone(1, 0.4), tone(20, 0.01)])
    assert loudest_db(sound) == pytest.approx(loudest_db(tone(1, 0.4)), abs=0.05)


@pytest.mark.parametrize("samples", [0, 1, BLOCK_SAMPLES - 1, 3 * BLOCK_SAMPLES + 7])
def test_short_recordings_have_a_level_too(samples: int) -> None:
    assert loudest_db(np.full(samples, 0.1, np.float32)) == pytest.approx(
        -20.0 if samples else -120.0, abs=0.01
    )


def test_digital_silence_has_the_least_level() -> None:
    assert loudest_db(np.zeros(RATE_HZ, np.float32)) == -120


@pytest.mark.parametrize(
    ("found_db", "gain_db"), [(-6, 0), (-11, 5), (0, -6), (-40, MOST_DB), (-60, 0), (-120, 0)]
)
def test_the_gain_leads_to_the_wanted_level_within_limits(found_db: float, gain_db: float) -> None:
    assert 20 * np.log10(gain(found_db, -6.0)) == pytest.approx(gain_db)
