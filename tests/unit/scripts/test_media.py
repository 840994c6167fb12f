"""Lengths of files, and longer recordings."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from scripts.media import RATE_HZ, long_speech, seconds_of

SPEECH = Path(__file__).resolve().parents[3] / "scripts" / "assets" / "speech.flac"


def test_a_recording_is_repeated(tmp_path: Path) -> None:
    target = tmp_path / "long.wav"
    long_speech(SPEECH, target, 2)
    video_s, audio_s = seconds_of(target)
    assert video_s == 0
    assert audio_s == pytest.approx(2 * seconds_of(SPEECH)[1], abs=2 / RATE_HZ)


def test_a_film_without_sound_has_pictures_only(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(10):
            container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode())
    assert seconds_of(film) == (0.4, 0.0)
