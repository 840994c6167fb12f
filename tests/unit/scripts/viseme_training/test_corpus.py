"""Scenes pair what the network sees with what the mouth does."""

from __future__ import annotations

import numpy as np
import pytest

from models.audio import logmel
from scripts.viseme_training import augment, corpus
from scripts.viseme_training.phones import IPA
from scripts.viseme_training.targets import Segment
from scripts.viseme_training.texts import nonsense, sentence
from scripts.viseme_training.voices import MuteError, SpeakerError, Speech


def tone_speech(seconds: float = 1.0) -> Speech:
    """A loud tone where the sound is "a", silence where it is "m"."""
    times = np.arange(round(seconds * 16000)) / 16000
    half = seconds / 2
    samples = np.where(times < half, 0.3 * np.sin(2 * np.pi * 200 * times), 0).astype(np.float32)
    return Speech(samples, [Segment(IPA["a"], 0.0, half), Segment(IPA["m"], half, seconds)])


@pytest.fixture
def tone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "_espeak", lambda rng: tone_speech())
    monkeypatch.setattr(corpus, "_flite", lambda rng: tone_speech())


@pytest.mark.usefixtures("tone")
def test_a_scene_has_one_row_of_shapes_per_frame_seen() -> None:
    scene = corpus.scene(np.random.default_rng(1), 0.5)
    assert scene.channels.shape == (len(scene.shapes), logmel.CHANNELS)
    assert scene.shapes.shape[1] == 5
    assert scene.shapes.min() >= 0
    assert scene.shapes.max() <= 1
    assert scene.shapes[:, 0].max() > 0.3


@pytest.mark.usefixtures("tone")
def test_the_mouth_opens_where_the_tone_sounds() -> None:
    scene = corpus.scene(np.random.default_rng(2), 0.5)
    level = scene.channels[:, logmel.BANDS + 1]
    assert np.corrcoef(level, scene.shapes[:, 0])[0, 1] > 0.5


@pytest.mark.usefixtures("tone")
def test_the_same_seed_gives_the_same_scenes_and_enough_of_them() -> None:
    first, again = list(corpus.scenes(4, 0.4, 0.5)), list(corpus.scenes(4, 0.4, 0.5))
    assert sum(len(s.shapes) for s in first) >= 0.4 * 6000
    assert len(first) == len(again)
    assert all(np.array_equal(a.channels, b.channels) for a, b in zip(first, again, strict=True))


def test_still_scenes_want_rest() -> None:
    for seed in range(6):
        assert not corpus.still_scene(np.random.default_rng(seed)).shapes.any()


def test_unspeakable_text_is_tried_again_and_a_missing_program_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[int] = []

    def mute_then_fine(rng: np.random.Generator) -> Speech:
        tries.append(1)
        if len(tries) == 1:
            raise MuteError("nothing")
        if len(tries) == 2:
            raise KeyError("ж")
        return tone_speech()

    monkeypatch.setattr(corpus, "_espeak", mute_then_fine)
    corpus.speech(np.random.default_rng(0), 0.0)
    assert len(tries) == 3

    def missing(rng: np.random.Generator) -> Speech:
        raise SpeakerError("not here")

    monkeypatch.setattr(corpus, "_espeak", missing)
    with pytest.raises(SpeakerError, match="not here"):
        corpus.speech(np.random.default_rng(0), 0.0)


def test_a_bigger_speaker_is_slower_by_the_same_factor_in_sound_and_times() -> None:
    rng = np.random.default_rng(9)
    said = [corpus._resized(rng, tone_speech()) for _ in range(12)]
    assert {len(s.samples) for s in said} != {16000}
    for one in said:
        assert one.segments[-1].end_s * 16000 == pytest.approx(len(one.samples), abs=1)


def test_louder_stretches_open_more() -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(32_000).astype(np.float32) * 0.1
    samples[16_000:] *= 0.3
    gain = corpus.emphasis(samples, 200)
    assert gain[50] > gain[150]
    assert gain.min() >= 0.6
    assert gain.max() <= 1.35


def test_texts_are_seeded_and_vary() -> None:
    one, two = np.random.default_rng(1), np.random.default_rng(1)
    assert [sentence(one) for _ in range(9)] == [sentence(two) for _ in range(9)]
    rng = np.random.default_rng(2)
    assert len({sentence(rng) for _ in range(50)}) > 40
    assert len({nonsense(rng) for _ in range(50)}) == 50


def test_recordings_are_finite_and_not_clipped() -> None:
    clean = tone_speech().samples
    for seed in range(12):
        rng = np.random.default_rng(seed)
        got = augment.recorded(rng, clean, quiet=seed % 2 == 0)
        assert got.shape == clean.shape
        assert np.isfinite(got).all()
        assert 0.01 < np.abs(got).max() <= 1


def test_knocks_are_short_and_have_unit_peak() -> None:
    got = augment.knocks(np.random.default_rng(3), 160_000)
    assert np.abs(got).max() == pytest.approx(1, abs=1e-5)
    assert np.mean(np.abs(got) > 1e-4) < 0.1


def test_room_noise_has_unit_rms() -> None:
    for seed in range(8):
        got = augment.room_noise(np.random.default_rng(seed), 16_000)
        assert got.std() == pytest.approx(1, rel=1e-3)
