"""The samples: a face that moves, and speech with a silence in it."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from scripts import make_samples
from scripts.viseme_training.judge import clip_sound

CASCADES = Path(cv2.__file__).parent / "data"
SPOKEN = Path(make_samples.ROOT) / "scripts" / "assets" / "speech.flac"


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["make_samples.py", *words])
    return make_samples.main()


def test_the_video_shows_a_large_face_that_moves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(make_samples, "SECONDS", 1)
    path = tmp_path / "new" / "face.mp4"
    assert run(monkeypatch, "video", str(path)) == 0
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert float(stream.average_rate or 0) == 25
        pictures = [frame.to_ndarray(format="gray") for frame in video.decode(stream)]
    assert len(pictures) == 25
    assert pictures[0].shape == (720, 720)
    assert np.abs(pictures[0].astype(int) - pictures[12]).mean() > 2
    cascade = cv2.CascadeClassifier(str(CASCADES / "haarcascade_frontalface_alt2.xml"))
    for picture in pictures[::8]:
        faces = cascade.detectMultiScale(picture, 1.1, 5, minSize=(150, 150))
        assert len(faces) == 1
        assert faces[0][2] >= 200


def test_the_last_frame_runs_on_into_the_first() -> None:
    step = np.abs(make_samples.view(0.01) - make_samples.view(0.0)).max()
    assert np.abs(make_samples.view(1.0) - make_samples.view(0.0)).max() < 1e-6 < step


def test_the_view_never_leaves_the_photograph() -> None:
    size = make_samples.SIZE_PX
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]], float).T
    for at in np.linspace(0, 1, 50):
        back = cv2.invertAffineTransform(make_samples.view(float(at))) @ corners
        assert back.min() >= 0
        assert back.max() <= 511


def test_the_committed_speech_is_small_and_rests_in_the_middle() -> None:
    samples = clip_sound(SPOKEN)
    loud = np.flatnonzero(np.abs(samples) > 1e-3)
    assert SPOKEN.stat().st_size <= 300_000
    assert 8 <= len(samples) / 16000 <= 12
    assert np.diff(loud).max() / 16000 >= 1.0


@pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not here: apt install flite")
def test_speech_can_be_made_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "speech.flac"
    assert run(monkeypatch, "speech", str(path)) == 0
    made, committed = clip_sound(path), clip_sound(SPOKEN)
    assert len(made) == pytest.approx(len(committed), rel=0.05)
    assert np.abs(made).max() == pytest.approx(make_samples.PEAK, abs=0.01)


def test_without_flite_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run(monkeypatch, "speech", str(tmp_path / "speech.flac")) == 1
    said = capsys.readouterr().err
    assert "apt install flite" in said
    assert "scripts/assets/speech.flac" in said
