"""Synthetic speakers give sound and times that belong together."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path

import numpy as np
import pytest

from scripts.viseme_training import corpus, voices
from scripts.viseme_training.phones import IPA, REST, ipa_phones
from scripts.viseme_training.texts import text


def _have_espeak() -> bool:
    try:
        ctypes.CDLL(voices.LIBRARY)
    except OSError:
        return False
    return True


needs_espeak = pytest.mark.skipif(
    not _have_espeak(), reason=f"{voices.LIBRARY} is not here: apt install libespeak-ng1"
)
needs_flite = pytest.mark.skipif(
    shutil.which("flite") is None, reason="flite is not here: apt install flite"
)


@needs_espeak
def test_espeak_names_sounds_with_rising_times() -> None:
    samples, names = voices.espeak().say("Mama bought a blue boat.", "en")
    assert samples.dtype == np.float32
    assert [n.name for n in names][:3] == ["m", "a", "m"]
    starts = [n.start_s for n in names]
    assert starts == sorted(starts)
    assert starts[-1] <= len(samples) / voices.espeak().rate_hz


@needs_espeak
def test_the_vowel_of_espeak_is_loud_where_its_segment_says() -> None:
    speech = voices.espeak_speech("Papa.", "en", 130, 50, 50)
    vowel = next(s for s in speech.segments if s.phone.opening >= 0.9)
    begin, end = (round(t * 16000) for t in (vowel.start_s, vowel.end_s))
    loud = float(np.sqrt(np.mean(speech.samples[begin:end] ** 2)))
    assert loud > 1.15 * float(np.sqrt(np.mean(speech.samples**2)))


@needs_espeak
@pytest.mark.parametrize("language", [*corpus.ENGLISH, *corpus.OTHERS])
def test_the_table_covers_what_espeak_says(language: str) -> None:
    rng = np.random.default_rng(3)
    unknown: set[str] = set()
    for _ in range(25):
        _, names = voices.espeak().say(text(rng, english=False), language)
        for name in {n.name for n in names if not n.name.startswith("(")}:
            try:
                ipa_phones(name)
            except KeyError as error:
                unknown.add(f"{name}: {error}")
    assert not unknown


@needs_espeak
def test_every_voice_of_the_corpus_exists() -> None:
    for variant in corpus.VARIANTS:
        samples, _ = voices.espeak().say("a", f"en+{variant}")
        assert len(samples)


@needs_espeak
def test_a_voice_that_is_not_there_is_named() -> None:
    with pytest.raises(voices.SpeakerError, match="no voice 'xx-none'"):
        voices.espeak().say("a", "xx-none")


@needs_flite
def test_flite_gives_sound_as_long_as_its_segments() -> None:
    speech = voices.flite_speech("Two blue boats.", "rms", 1.0, 105)
    assert speech.segments[-1].end_s == pytest.approx(len(speech.samples) / 16000, abs=0.05)
    assert any(s.phone.closure == 1 for s in speech.segments)


def test_flites_line_becomes_segments() -> None:
    got = voices.flite_segments("pau:0.2 ay:0.4 m:0.5 \n")
    assert [(s.phone, s.start_s, s.end_s) for s in got] == [
        (REST, 0.0, 0.2),
        (IPA["a"], 0.2, pytest.approx(0.3)),
        (IPA["ɪ"], pytest.approx(0.3), 0.4),
        (IPA["m"], 0.4, 0.5),
    ]


def test_a_missing_program_is_named_with_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(voices.SpeakerError, match="flite is missing: apt install flite"):
        voices.flite_speech("a", "rms", 1.0, 105)


def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voices, "LIBRARY", "libno-such-speaker.so.9")
    with pytest.raises(voices.SpeakerError, match="apt install libespeak-ng1"):
        voices.Espeak()
