"""The training command runs from text to a file that works, and says its scores."""

from __future__ import annotations

import ctypes.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from models.audio.viseme import LEFT_FRAMES, RIGHT_FRAMES, WEIGHTS, VisemeAudio
from runtime.sessions import open_session
from scripts import train_viseme
from scripts.viseme_training import corpus

CLIP = train_viseme.ROOT / "scripts" / "assets" / "speech.flac"

pytestmark = pytest.mark.skipif(
    shutil.which("flite") is None or ctypes.util.find_library("espeak-ng") is None,
    reason="needs flite and libespeak-ng1 (apt)",
)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["train_viseme.py", *words])
    return train_viseme.main()


def test_a_short_training_writes_a_model_that_runs_and_judges_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_viseme, "HELD_BACK_MINUTES", 0.3)
    monkeypatch.setattr(train_viseme, "MIX", corpus.Mix(0.5, 0))
    clips, series = tmp_path / "clips", tmp_path / "series"
    clips.mkdir()
    series.mkdir()
    shutil.copy(CLIP, clips)
    np.savez(series / "speech.npz", s=np.random.default_rng(0).random(250), r=25.0)
    out = tmp_path / "made.onnx"
    words = ("--minutes", "0.8", "--epochs", "2", "--nets", "2", "--out", str(out))
    assert run(monkeypatch, *words, "--judge", str(clips), str(series)) == 0
    table = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"opening", "closure", "mean_error", "real_correlation", "real_lag_ms"} <= set(table)
    assert abs(table["real_correlation"]) < 0.5  # the series is chance
    speech = VisemeAudio(open_session(out, "cpu"))
    got = speech.features(np.zeros(40_000, np.float32), 0.0, np.array([1.6, 1.7]))
    assert got.shape == (2, 5)


def test_the_shipped_model_follows_synthetic_lips_it_was_not_trained_on() -> None:
    speech = VisemeAudio(open_session(WEIGHTS, "cpu"))
    got, wanted = [], []
    rng = np.random.default_rng(31337)
    said = iter(corpus.speeches(31337, 1.5, corpus.Mix(0.5, 0)))
    for _ in range(6):
        scene = corpus.scene(rng, said)
        inner = slice(LEFT_FRAMES, -RIGHT_FRAMES)
        got.append(speech._session.run(None, {"channels": scene.channels.T[None]})[0][0, 0])
        wanted.append(scene.shapes[inner, 0])
    assert np.corrcoef(np.concatenate(got), np.concatenate(wanted))[0, 1] > 0.75
