"""The shipped network moves with speech, rests in silence, closes for m and p."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import catalog
from models.audio import viseme
from models.audio.base import SAMPLE_RATE_HZ
from scripts.viseme_training import augment
from scripts.viseme_training.judge import clip_sound

REPO = Path(__file__).resolve().parents[4]
SPOKEN = REPO / "scripts" / "assets" / "speech.flac"
OPENING, _, _, _, CLOSURE = range(5)


@cache
def model() -> viseme.VisemeAudio:
    return viseme.load("cpu", Path("weights"))


def shapes(samples: NDArray[np.float32], fps: float = 25.0) -> NDArray[np.float32]:
    """Features of a whole recording, padded as the pipeline does."""
    padded = np.pad(samples, (24_000, 4_000))
    times = np.arange(0, len(samples) / SAMPLE_RATE_HZ, 1 / fps)
    return model().features(padded, -1.5, times)


@cache
def spoken() -> NDArray[np.float32]:
    return clip_sound(SPOKEN)


def pause() -> tuple[float, float]:
    """The longest stretch of zeros inside the sample, in seconds."""
    loud = np.flatnonzero(np.abs(spoken()) > 1e-3)
    gap = int(np.argmax(np.diff(loud)))
    return float(loud[gap] / SAMPLE_RATE_HZ), float(loud[gap + 1] / SAMPLE_RATE_HZ)


def test_the_file_is_small() -> None:
    assert 10_000 < viseme.WEIGHTS.stat().st_size < 4_000_000


def test_the_catalogue_lists_the_file_that_ships() -> None:
    entry = next(entry for entry in catalog.ENTRIES if entry.name == viseme.NAME)
    (listed,) = entry.files
    assert REPO / listed.path == viseme.WEIGHTS
    assert listed.size_bytes == viseme.WEIGHTS.stat().st_size
    assert listed.sha256 == hashlib.sha256(viseme.WEIGHTS.read_bytes()).hexdigest()


def test_all_shapes_lie_between_zero_and_one() -> None:
    got = shapes(spoken())
    assert got.shape[1] == len(viseme.SHAPES)
    assert got.min() >= 0
    assert got.max() <= 1


def test_digital_silence_is_rest() -> None:
    assert shapes(np.zeros(64_000, np.float32)).max() <= 0.02


@pytest.mark.parametrize("level_db", [-70, -55, -40])
def test_room_noise_leaves_the_lips_at_rest(level_db: float) -> None:
    rng = np.random.default_rng(11)
    noise = rng.standard_normal(96_000) * 10 ** (level_db / 20)
    smoothed = np.convolve(noise, np.ones(4) / 4, "same").astype(np.float32)
    settled = shapes(smoothed)[50:]
    assert settled[:, OPENING].mean() <= 0.03
    assert settled[:, OPENING].max() <= 0.12


def voice(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The voice output of a whole recording at 25 fps."""
    padded = np.pad(samples, (24_000, 4_000))
    return model().voice(padded, -1.5, np.arange(0, len(samples) / SAMPLE_RATE_HZ, 0.04))


def test_the_voice_is_heard_in_speech_and_not_in_silence_or_noise() -> None:
    noise = np.random.default_rng(1).normal(0, 0.01, 64_000).astype(np.float32)
    assert np.median(voice(spoken())) > 0.5
    assert voice(np.zeros(32_000, np.float32)).max() < 0.1
    assert np.percentile(voice(noise)[25:], 95) < 0.2


def test_noise_right_after_clean_speech_does_not_move_the_lips() -> None:
    noise = np.random.default_rng(3).standard_normal(32_000)
    noise = np.convolve(noise, np.ones(6) / 6, "same") * 10 ** (-50 / 20)
    said = spoken()[: round(pause()[0] * SAMPLE_RATE_HZ)]
    got = shapes(np.concatenate([said, noise.astype(np.float32)]))[:, OPENING]
    end = int(len(said) / SAMPLE_RATE_HZ * 25)
    settled = got[end + 10 :]
    assert settled.mean() <= 0.02
    assert settled.std() <= 0.1 * got[:end].std()


def test_music_moves_the_lips_less_than_speech() -> None:
    music = 0.1 * augment.music(np.random.default_rng(5), 64_000)
    assert shapes(music)[:, OPENING].mean() < 0.3 * shapes(spoken())[:, OPENING].mean()


def test_speech_opens_the_mouth_and_the_pause_in_it_closes_it() -> None:
    got = shapes(spoken(), fps=100)
    first, last = pause()
    quiet = got[round(first * 100) + 30 : round(last * 100) - 20, OPENING]
    talking = got[: round(first * 100), OPENING]
    assert last - first >= 1.0
    assert talking.max() > 0.5
    assert talking.std() > 0.15
    assert quiet.max() <= 0.05


def test_mama_and_papa_close_and_open_the_lips() -> None:
    got = shapes(spoken(), fps=100)
    # "Mama, Papa": lips pressed together before each of the two words' open vowels
    start = int(np.flatnonzero(np.abs(spoken()) > 0.02)[0] / 160)
    words = got[max(0, start - 10) : start + 150]
    pressed = words[:, CLOSURE] > 0.5
    rises = int(np.count_nonzero(np.diff(pressed.astype(int)) == 1)) + int(pressed[0])
    assert rises >= 3
    assert words[:, OPENING].max() > 0.5
    assert words[pressed, OPENING].mean() < 0.25
    assert np.corrcoef(words[:, OPENING], words[:, CLOSURE])[0, 1] < -0.3


def test_lips_do_not_jitter_from_frame_to_frame() -> None:
    got = shapes(spoken(), fps=50)[:, OPENING]
    turns = np.count_nonzero(np.diff(np.sign(np.diff(got)[np.abs(np.diff(got)) > 0.01])) != 0)
    assert turns / (len(got) / 50) < 16  # syllables come at some 5 a second: 10 turns
    assert np.abs(np.diff(got)).max() < 0.35


def test_loudness_of_the_recording_hardly_matters() -> None:
    base = shapes(spoken())[:, OPENING]
    quieter = shapes(spoken() * np.float32(0.1))[:, OPENING]
    assert np.corrcoef(base, quieter)[0, 1] > 0.95
    assert quieter.mean() == pytest.approx(base.mean(), rel=0.2)


def test_long_recordings_go_through_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = shapes(spoken(), fps=30)
    monkeypatch.setattr(viseme, "BLOCK_FRAMES", 97)
    assert np.abs(shapes(spoken(), fps=30) - whole).max() < 1e-4


SECOND = np.zeros(40_000, np.float32)


@pytest.mark.parametrize(
    ("samples", "start_s", "times", "says"),
    [
        (np.zeros((2, 9), np.float32), 0.0, [1.0], "samples are float32 [2, 9]; float32 [N]"),
        (np.zeros(9), 0.0, [1.0], "samples are float64 [9]"),
        (np.full(9, np.nan, np.float32), 0.0, [1.0], "samples hold NaN or infinity"),
        (SECOND, 0.0, [2.0, 1.9], "times_s must be a rising row"),
        (SECOND, 0.0, [np.nan], "times_s must be a rising row"),
        (SECOND, 0.0, [1.4], "these times need -0.100 s to 1.600 s"),
        (SECOND, 0.0, [1.6, 2.4], "samples reach from 0.000 s to 2.500 s"),
    ],
)
def test_a_wrong_window_is_refused_with_what_is_needed(
    samples: NDArray[np.float32], start_s: float, times: list[float], says: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        model().features(samples, start_s, np.array(times))
