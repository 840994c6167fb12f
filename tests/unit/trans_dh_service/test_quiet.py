"""Where the mouth rests: long silences only, away from speech, the same on every grid of frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trans_dh_service.quiet import DIGITAL_DB, Quiet, heard, levels, shares
from trans_dh_service.speech import Sound

RATE = 16000
FPS = Fraction(25)


def a_sound(folder: Path, samples: NDArray[np.float64]) -> Sound:
    sound = Sound(folder, RATE, 1, len(samples), len(samples), "x")
    sound.pcm.write_bytes(np.rint(samples * 32767).astype("<i2").tobytes())
    return sound


def voice(seconds: float, loudness: float = 0.3) -> NDArray[np.float64]:
    at = np.arange(round(seconds * RATE)) / RATE
    return loudness * np.sin(2 * np.pi * 200 * at) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * at))


def hush(seconds: float, loudness: float = 0.0) -> NDArray[np.float64]:
    return loudness * np.random.default_rng(1).standard_normal(round(seconds * RATE))


def resting(folder: Path, *parts: NDArray[np.float64], fps: Fraction = FPS) -> NDArray[np.float64]:
    sound = a_sound(folder, np.concatenate(parts))
    frames = round(sound.seconds * fps)
    quiet = Quiet(sound, fps, frames)
    found = np.array([quiet.share(index) for index in range(frames)])
    assert quiet.any == bool(found.any())
    assert (quiet.resting == (found == 1)).all()
    return found


def test_the_mouth_rests_in_a_long_pause_away_from_speech_and_fades_at_its_ends(
    tmp_path: Path,
) -> None:
    found = resting(tmp_path, voice(1), hush(2), voice(1))
    at_s = np.flatnonzero(found) / 25
    assert (at_s[0], at_s[-1]) == (pytest.approx(1.32, abs=0.03), pytest.approx(2.64, abs=0.03))
    assert np.abs(np.diff(found)).max() == pytest.approx(0.2)
    assert (found[:33] == 0).all()
    assert (found == 1).sum() == (found > 0).sum() - 8


def test_a_pause_that_is_too_short_is_spoken_through(tmp_path: Path) -> None:
    assert not resting(tmp_path, voice(1), hush(1.15), voice(1)).any()


def test_silence_before_and_after_speech_needs_no_margin_at_the_ends(tmp_path: Path) -> None:
    found = resting(tmp_path, hush(1), voice(1), hush(1))
    assert found[0] == found[-1] == 1
    assert (found[18:57] == 0).all()


def test_a_recording_without_any_sound_rests_throughout(tmp_path: Path) -> None:
    assert (resting(tmp_path, hush(1)) == 1).all()
    assert (resting(tmp_path, hush(1, 5e-5)) == 1).all()


def test_noise_without_speech_counts_as_speech(tmp_path: Path) -> None:
    assert not resting(tmp_path, hush(3, 0.01)).any()


@pytest.mark.parametrize("noise", [0.0003, 0.003])
def test_pauses_are_found_above_a_noise_floor(tmp_path: Path, noise: float) -> None:
    spoken = np.concatenate([voice(2), hush(2), voice(2)])
    found = resting(
        tmp_path, spoken + noise * np.random.default_rng(2).standard_normal(len(spoken))
    )
    assert (found[58:90] > 0).all()
    assert not found[:56].any()


def test_a_quiet_voice_in_a_clean_recording_is_heard(tmp_path: Path) -> None:
    found = resting(tmp_path, voice(2), hush(0.5, 0.0001), voice(2, 0.01), hush(2, 0.0001))
    assert not found[: 25 * 4].any()
    assert found[-1] == 1


def test_digital_silence_between_sentences_does_not_hide_noisy_pauses(tmp_path: Path) -> None:
    noisy = hush(2, 0.001)
    found = resting(tmp_path, voice(2), hush(2), voice(1) + hush(1, 0.001), noisy, voice(1))
    assert found[75] == 1
    assert found[25 * 6] == 1


def test_a_click_interrupts_the_rest(tmp_path: Path) -> None:
    click = np.concatenate([hush(1.5), voice(0.05), hush(1.5)])
    found = resting(tmp_path, voice(1), click, voice(1))
    assert found[63] == 0
    assert found[50] == 1
    assert found[78] == 1


def test_a_sound_that_dies_away_is_heard_until_it_is_below_the_lower_threshold() -> None:
    decibels = np.concatenate([np.full(50, -10.0), [-33, -35, -36, -38, -35.5], np.full(50, -41)])
    found = heard(decibels.astype(np.float32))
    assert found.tolist() == [True] * 53 + [False] * 52


def test_levels_are_those_of_a_sine_and_are_read_in_pieces(tmp_path: Path) -> None:
    loud = np.sqrt(2) * 0.1 * np.sin(2 * np.pi * 200 * np.arange(RATE * 100) / RATE)
    found = levels(a_sound(tmp_path, np.concatenate([loud, np.zeros(100)])))
    assert len(found) == 5001
    assert found[:-1] == pytest.approx(-20, abs=0.01)
    assert found[-1] == pytest.approx(DIGITAL_DB)
    assert len(levels(Sound(tmp_path, RATE, 1, 0, 0, "x"))) == 0
    assert len(heard(np.empty(0, np.float32))) == 0


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(25), Fraction(60), Fraction(1)])
def test_the_fade_lasts_equally_long_at_every_rate(tmp_path: Path, fps: Fraction) -> None:
    found = resting(tmp_path, voice(2), hush(12), voice(2), fps=fps)
    rising = found[: len(found) // 2]
    fading = ((rising > 0) & (rising < 1)).sum()
    assert fading == max(2, round(0.16 * fps))
    assert found.max() == 1


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 120)), min_size=1, max_size=12),
    st.sampled_from([Fraction(24000, 1001), Fraction(25), Fraction(50)]),
)
def test_no_frame_that_rests_is_near_sound(runs: list[tuple[bool, int]], fps: Fraction) -> None:
    sounding = np.concatenate([np.full(count, loud) for loud, count in runs])
    frames = max(1, round(len(sounding) * 0.02 * fps))
    found = shares(sounding, fps, frames)
    assert found.shape == (frames,)
    assert ((found >= 0) & (found <= 1)).all()
    for index in np.flatnonzero(found):
        at_s = float(index / float(fps))
        near = sounding[max(0, int((at_s - 0.28) / 0.02)) : int((at_s + 0.28) / 0.02)]
        assert not near.any()
