"""Festival's speakers give sound and times that belong together."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

from scripts.viseme_training import festival
from scripts.viseme_training.phones import IPA, REST
from scripts.viseme_training.voices import MuteError, SpeakerError

ITALIAN = festival.VOICES[2]
needs_festival = pytest.mark.skipif(
    shutil.which("festival") is None, reason="festival is not here: apt install festival"
)


def test_labels_become_timed_mouths() -> None:
    labels = "#\n0.2 100 pau\n0.3 100 p\n0.5 100 a1\n0.5 100 o\n"
    got = festival.segments(labels, ITALIAN.sounds)
    assert [(s.phone, s.start_s, s.end_s) for s in got] == [
        (REST, 0.0, 0.2),
        (IPA["p"], 0.2, 0.3),
        (IPA["a"], 0.3, 0.5),
    ]


def test_an_unknown_sound_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        festival.segments("#\n0.2 100 qq\n", ITALIAN.sounds)


def test_every_sound_of_the_tables_has_a_mouth() -> None:
    for voice in festival.VOICES:
        for name in voice.sounds:
            assert festival._phones(name, voice.sounds)
    assert sum(festival.SHARES) == pytest.approx(1)
    assert len(festival.SHARES) == len(festival.VOICES)


def test_quotes_cannot_end_the_text() -> None:
    assert festival.plain('say "this" \\ now') == "say  this    now"


def test_a_missing_program_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SpeakerError, match="apt install festival"):
        festival.festival_speech("mama", ITALIAN, 1.0)


@pytest.mark.parametrize(
    ("said", "error"), [("unbound variable: voice_x", SpeakerError), ("", MuteError)]
)
def test_a_missing_voice_and_a_mute_text_are_told_apart(
    monkeypatch: pytest.MonkeyPatch, said: str, error: type[Exception]
) -> None:
    ran = subprocess.CompletedProcess(["festival"], 0, "", said)
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: ran)
    with pytest.raises(error):
        festival.festival_speech("mama", ITALIAN, 1.0)


@needs_festival
def test_it_speaks() -> None:
    try:
        said = festival.festival_speech("papa vola", ITALIAN, 1.0)
    except SpeakerError as error:
        pytest.skip(str(error))
    assert said.samples.dtype == np.float32
    assert np.abs(said.samples).max() > 0.01
    assert said.segments[-1].end_s == pytest.approx(len(said.samples) / 16000, abs=0.1)
    assert IPA["p"] in [segment.phone for segment in said.segments]
