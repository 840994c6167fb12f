"""The recording: exact length, one AAC grid, features that do not depend on where one starts."""

from __future__ import annotations

import json
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from models.audio.base import SAMPLE_RATE_HZ
from tests.unit.trans_dh_service.fakes import FakeSpeech
from tests.unit.trans_dh_service.media import heard_in, make_sound, tone
from trans_dh_service.speech import (
    AAC_SAMPLES,
    BLOCK_FRAMES,
    Sound,
    SpeechReader,
    aac_frames,
    prepare_sound,
)
from trans_dh_service.task import MediaError, MediaLimits, StoppedError

LIMITS = MediaLimits()


def prepared(path: Path, folder: Path, source: str = "one") -> Sound:
    folder.mkdir(exist_ok=True)
    return prepare_sound(path, folder, LIMITS, source, lambda: False)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout", "out_rate"),
    [
        ("a.wav", "pcm_s16le", 44100, "stereo", 44100),
        ("a.wav", "pcm_s16le", 8000, "mono", 48000),
        ("a.flac", "flac", 96000, "5.1", 48000),
        ("a.mp3", "libmp3lame", 32000, "mono", 32000),
        ("a.m4a", "aac", 48000, "stereo", 48000),
        ("a.ogg", "libopus", 48000, "stereo", 48000),
    ],
)
def test_every_kind_of_recording_is_decoded_to_its_length(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str, out_rate: int
) -> None:
    sound = prepared(make_sound(tmp_path / name, 1.25, codec, rate, layout), tmp_path / "work")
    assert (sound.rate_hz, sound.channels) == (out_rate, 1 if layout == "mono" else 2)
    assert sound.seconds == pytest.approx(1.25, abs=0.08)
    assert sound.speech_samples / SAMPLE_RATE_HZ == pytest.approx(sound.seconds, abs=0.002)
    assert sound.pcm.stat().st_size == 2 * sound.speech_samples
    assert sorted(path.name for path in sound.folder.iterdir()) == [
        "sound.aac",
        "sound.json",
        "speech.s16",
    ]


def test_the_aac_frames_lie_on_one_grid_and_hold_all_samples(tmp_path: Path) -> None:
    sound = prepared(make_sound(tmp_path / "a.wav", 1.0), tmp_path / "work")
    frames = list(aac_frames(sound))
    assert [frame.start for frame in frames] == [
        AAC_SAMPLES * (number - 1) for number in range(len(frames))
    ]
    assert sum(frame.samples for frame in frames) == sound.samples + AAC_SAMPLES == 48000 + 1024
    with av.open(str(sound.aac)) as container:
        decoded = sum(frame.samples for frame in container.decode(audio=0))
    assert decoded == len(frames) * AAC_SAMPLES


def test_the_sound_is_where_it_was(tmp_path: Path) -> None:
    sound = prepared(make_sound(tmp_path / "a.wav", 2.0), tmp_path / "work")
    pcm = np.fromfile(sound.pcm, "<i2") / 32768
    truth = tone(2.0, SAMPLE_RATE_HZ)
    assert np.abs(pcm - truth).mean() < 0.01
    heard = heard_in(sound.aac)[AAC_SAMPLES:]
    loud = np.abs(heard[:96000]).reshape(-1, 480).mean(axis=1) > 0.1
    wanted = np.abs(tone(2.0)).reshape(-1, 480).mean(axis=1) > 0.1
    assert (loud != wanted).sum() <= 8


def test_an_earlier_decoding_is_reused_for_the_same_recording_only(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.wav", 0.5)
    sound = prepared(path, tmp_path / "work")
    stamp = sound.aac.stat().st_mtime_ns
    assert prepared(path, tmp_path / "work") == sound
    assert sound.aac.stat().st_mtime_ns == stamp
    assert prepared(path, tmp_path / "work", "two").source == "two"
    sound.pcm.unlink()
    assert prepared(path, tmp_path / "work", "two").pcm.is_file()
    for text in ("", "[]", json.dumps({"version": 7}), json.dumps({"version": 1, "source": "two"})):
        (tmp_path / "work" / "sound.json").write_text(text)
        assert prepared(path, tmp_path / "work", "two").samples == 24000


def test_a_recording_longer_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.wav", 3.0)
    limits = MediaLimits(max_audio_s=2)
    with pytest.raises(MediaError, match="longer than the 2 s") as caught:
        prepare_sound(path, tmp_path, limits, "x", lambda: False)
    assert caught.value.role == "audio"
    assert not (tmp_path / "sound.json").exists()


def test_decoding_stops_when_asked(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.wav", 0.5)
    with pytest.raises(StoppedError):
        prepare_sound(path, tmp_path, LIMITS, "x", lambda: True)


def test_damaged_packets_are_passed_over_and_nothing_at_all_is_refused(tmp_path: Path) -> None:
    path = make_sound(tmp_path / "a.flac", 1.0, "flac")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    path.write_bytes(bytes(data))
    assert prepared(path, tmp_path / "work").seconds > 0.5
    start = data.index(b"\xff\xf8")
    path.write_bytes(bytes(data[:start]) + bytes(len(data) - start))
    with pytest.raises(MediaError, match="no samples"):
        prepared(path, tmp_path / "other")


def test_a_recording_may_change_its_channels_midway(tmp_path: Path) -> None:
    parts = [
        make_sound(tmp_path / f"{layout}.mp3", 0.5, "libmp3lame", rate, layout).read_bytes()
        for layout, rate in (("mono", 44100), ("stereo", 48000))
    ]
    path = tmp_path / "both.mp3"
    path.write_bytes(parts[0] + parts[1][parts[1].index(b"\xff\xfb") :])
    assert prepared(path, tmp_path / "work").seconds == pytest.approx(1.0, abs=0.15)


def test_features_do_not_depend_on_where_reading_starts(tmp_path: Path) -> None:
    sound = prepared(make_sound(tmp_path / "a.wav", 8.0), tmp_path / "work")
    fps = Fraction(30000, 1001)
    frames = int(8 * fps)
    whole = SpeechReader(sound, FakeSpeech(), fps, frames)
    values = [float(whole.feature(index)[0]) for index in range(frames)]
    assert frames > BLOCK_FRAMES
    for start in (1, BLOCK_FRAMES - 1, BLOCK_FRAMES + 3, frames - 1):
        reader = SpeechReader(sound, FakeSpeech(), fps, frames)
        assert [float(reader.feature(index)[0]) for index in range(start, frames)] == values[start:]
    loud = np.array(values) > 0.1
    wanted = np.array([(index / fps) % Fraction(1, 2) < Fraction(1, 8) for index in range(frames)])
    assert (loud != wanted).mean() < 0.08


def test_a_model_is_told_where_the_recording_ends(tmp_path: Path) -> None:
    told: list[int] = []

    class Ending(FakeSpeech):
        def for_length(self, samples: int) -> FakeSpeech:
            told.append(samples)
            return self

    sound = prepared(make_sound(tmp_path / "a.wav", 1.5, rate_hz=16000), tmp_path / "work")
    SpeechReader(sound, Ending(), Fraction(25), 30)
    assert told == [24_000]


def test_a_model_with_a_level_hears_quiet_and_loud_recordings_alike(tmp_path: Path) -> None:
    class Level(FakeSpeech):
        level_db = -6.0

        def features(
            self, samples: NDArray[np.float32], start_s: float, times_s: NDArray[np.float64]
        ) -> NDArray[np.float32]:
            return np.full((len(times_s), 1), np.abs(samples).max(), np.float32)

    heard = []
    for name, amplitude in (("quiet", 0.25), ("loud", 0.7)):
        tone = amplitude * np.sin(np.arange(16000) * 0.2)
        path = tmp_path / f"{name}.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((tone * 32767).astype("<i2").tobytes())
        sound = prepared(path, tmp_path / name)
        heard.append(float(SpeechReader(sound, Level(), Fraction(25), 25).feature(10)[0]))
    assert heard == pytest.approx([10 ** (-6 / 20) * 2**0.5] * 2, abs=0.02)
