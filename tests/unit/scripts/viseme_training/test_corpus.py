"""Scenes pair what the network sees with what the mouth does."""

from __future__ import annotations

from itertools import repeat

import numpy as np
import pytest

from models.audio import logmel
from scripts.viseme_training import augment, corpus
from scripts.viseme_training.phones import BREATH, IPA, MOUTHS
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
    monkeypatch.setattr(corpus, "_festival", lambda rng: tone_speech())


def test_a_scene_has_one_row_of_shapes_per_frame_seen() -> None:
    scene = corpus.scene(np.random.default_rng(1), repeat(tone_speech()))
    assert scene.channels.shape == (len(scene.shapes), logmel.CHANNELS)
    assert scene.shapes.shape[1] == 5
    assert scene.voice.shape == (len(scene.shapes),)
    assert scene.voice.max() == pytest.approx(1)
    assert scene.voice.min() == 0
    assert scene.voice[scene.shapes[:, 0] > 0.3].min() > 0.5
    assert scene.shapes.min() >= 0
    assert scene.shapes.max() <= 1
    assert scene.shapes[:, 0].max() > 0.3
    assert set(scene.mouths[scene.shapes[:, 4] > 0.9]) <= {MOUTHS.index(IPA["m"]), 0}
    assert MOUTHS.index(IPA["a"]) in scene.mouths


def test_the_mouth_opens_where_the_tone_sounds() -> None:
    scene = corpus.scene(np.random.default_rng(2), repeat(tone_speech()))
    level = scene.channels[:, logmel.BANDS + 1]
    assert np.corrcoef(level, scene.shapes[:, 0])[0, 1] > 0.5


@pytest.mark.usefixtures("tone")
def test_the_same_seed_gives_the_same_scenes_and_enough_of_them() -> None:
    said = corpus.speeches(4, 0.1)
    assert sum(len(one.samples) for one in said) >= 0.1 * 60 * 16_000
    first, again = (list(corpus.scenes(4, 0.4, said)) for _ in range(2))
    assert sum(len(s.shapes) for s in first) >= 0.4 * 6000
    assert len(first) == len(again)
    assert all(np.array_equal(a.channels, b.channels) for a, b in zip(first, again, strict=True))


def test_still_scenes_want_rest() -> None:
    for seed in range(6):
        scene = corpus.still_scene(np.random.default_rng(seed))
        assert not scene.shapes.any()
        assert not scene.voice.any()
        assert not scene.mouths.any()


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
    corpus.speech(np.random.default_rng(0), corpus.Mix(0, 0))
    assert len(tries) == 3

    def missing(rng: np.random.Generator) -> Speech:
        raise SpeakerError("not here")

    monkeypatch.setattr(corpus, "_espeak", missing)
    with pytest.raises(SpeakerError, match="not here"):
        corpus.speech(np.random.default_rng(0), corpus.Mix(0, 0))


def test_a_bigger_speaker_is_slower_by_the_same_factor_in_sound_and_times() -> None:
    rng = np.random.default_rng(9)
    said = [corpus._resized(rng, tone_speech()) for _ in range(12)]
    assert {len(s.samples) for s in said} != {16000}
    for one in said:
        assert one.segments[-1].end_s * 16000 == pytest.approx(len(one.samples), abs=1)


def test_a_breath_is_drawn_before_the_first_sound_and_parts_the_lips() -> None:
    for seed in range(8):
        said = corpus.breathing(np.random.default_rng(seed), tone_speech(), snr_db=30.0)
        drawn, first = said.segments[0], said.segments[1]
        assert drawn.phone == BREATH
        assert 0 <= drawn.start_s < drawn.end_s <= first.start_s + 1e-9
        assert first.start_s * 16_000 == pytest.approx(len(said.samples) - 16_000, abs=1)
        begin, end = round(drawn.start_s * 16_000) + 1, round(drawn.end_s * 16_000) - 1
        assert 0 < np.abs(said.samples[begin:end]).max() < 0.1
        assert not said.samples[: begin - 2].any()


def test_each_utterance_is_used_before_one_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "_resized", lambda rng, said: said)
    said = [tone_speech(0.5 + 0.1 * index) for index in range(5)]
    drawn = corpus._again_and_again(np.random.default_rng(0), said)
    for _ in range(2):
        lengths = sorted(len(next(drawn).samples) for _ in range(5))
        assert lengths == [8000, 9600, 11200, 12800, 14400]


def test_louder_stretches_open_more() -> None:
    rng = np.random.default_rng(0)
    samples = rng.standard_normal(32_000).astype(np.float32) * 0.1
    samples[16_000:] *= 0.3
    gain = corpus.emphasis(samples, 200)
    assert gain[50] > gain[150]
    assert gain.min() >= 0.7
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
        got = augment.recorded(rng, clean, None if seed % 2 else 20.0)
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


def test_music_has_unit_rms_and_many_tones() -> None:
    for seed in range(4):
        got = augment.music(np.random.default_rng(seed), 32_000)
        assert got.std() == pytest.approx(1, rel=1e-3)
        assert np.isfinite(got).all()


def test_a_breath_has_unit_rms_and_swells_and_fades() -> None:
    for seed in range(4):
        got = augment.breath(np.random.default_rng(seed), 6400)
        assert got.std() == pytest.approx(1, rel=1e-3)
        assert np.abs(got[[0, -1]]).max() < 0.05
        assert got[:320].std() < got[2400:4000].std()


def test_switched_noise_is_whole_or_not_there() -> None:
    noise = augment.room_noise(np.random.default_rng(1), 160_000)
    got = augment.switched(np.random.default_rng(2), noise)
    on = got != 0
    assert 0.1 < on.mean() < 0.9
    assert np.array_equal(got[on], noise[on])
    assert 2 < np.count_nonzero(np.diff(on.astype(int))) < 40


def test_a_codec_of_eight_bits_leaves_the_sound_near_what_it_was() -> None:
    clean = tone_speech().samples
    got = augment.companded(clean)
    assert 0 < np.abs(got - clean).max() < 0.03 * np.abs(clean).max()
