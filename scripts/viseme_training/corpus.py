"""The training set: scenes of synthetic speech and silence with their mouth tracks.

What it is: seeded; the same seed and programs give the same scenes. What it is not: stored; it is
made anew in a minute or two.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.audio import logmel
from scripts.viseme_training import augment
from scripts.viseme_training.targets import Segment, smooth, track
from scripts.viseme_training.texts import text
from scripts.viseme_training.voices import (
    FLITE_VOICES,
    MuteError,
    Speech,
    espeak_speech,
    flite_speech,
)

RATE_HZ = 16000
ENGLISH = ("en", "en-us", "en-gb-scotland", "en-029", "en-gb-x-rp")
OTHERS = ("de", "fr", "es", "it", "nl", "pt-br", "sv", "pl", "tr", "fi", "id", "ro", "cs", "hu")
VARIANTS = (
    *("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5"),
    *("Andy", "Annie", "Alicia", "Michael", "Mike", "Lee", "Marco", "Gene", "linda", "steph"),
    *("travis", "victor", "john", "rob", "david", "edward", "boris", "paul"),
    *("klatt", "klatt2", "klatt4", "klatt5"),
)
PITCH_HZ = {"slt": 175.0, "rms": 105.0, "awb": 125.0, "kal16": 105.0}
# Louder stretches of a sentence open the mouth more: per decibel from the sentence's mean.
OPEN_PER_DB = 0.03


@dataclass(frozen=True, eq=False)
class Scene:
    """Network input [n, CHANNELS] and the wanted shapes [n, 5], both at 100 Hz."""

    channels: NDArray[np.float32]
    shapes: NDArray[np.float32]


def speech(rng: Generator, flite_share: float) -> Speech:
    """One utterance by a speaker drawn at random, resized in a third of the cases."""
    while True:
        try:
            said = _flite(rng) if rng.random() < flite_share else _espeak(rng)
        except (KeyError, MuteError):
            continue  # a sound beyond the table, or nonsense that has no sound
        return _resized(rng, said)


def _espeak(rng: Generator) -> Speech:
    english = rng.random() < 0.6
    language = str(rng.choice(ENGLISH if english else OTHERS))
    voice = f"{language}+{rng.choice(VARIANTS)}"
    pace = int(rng.uniform(115, 230))
    pitch, pitch_range = int(rng.uniform(20, 80)), int(rng.uniform(20, 90))
    return espeak_speech(text(rng, english), voice, pace, pitch, pitch_range)


def _flite(rng: Generator) -> Speech:
    voice = str(rng.choice(FLITE_VOICES, p=[0.36, 0.32, 0.24, 0.08]))
    stretch, pitch_hz = rng.uniform(0.75, 1.3), PITCH_HZ[voice] * rng.uniform(0.85, 1.2)
    return flite_speech(text(rng, english=True), voice, stretch, pitch_hz)


def _resized(rng: Generator, said: Speech) -> Speech:
    if rng.random() < 0.4:
        return said
    factor = float(rng.uniform(0.86, 1.16))
    segments = [Segment(s.phone, s.start_s * factor, s.end_s * factor) for s in said.segments]
    return Speech(augment.resized(said.samples, factor), segments)


def emphasis(samples: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """How much more or less than usual the mouth opens at each frame [frames], 0.6..1.35.

    From the level over some 100 ms against the mean level of the louder half of the utterance.
    """
    power = logmel.log_mel(samples, 0, 0, frames)[:, logmel.BANDS]
    level_db = smooth(power[:, None].astype(np.float64) * (10 / np.log(10)), 6.0)[:, 0]
    usual_db = float(np.mean(level_db[level_db >= np.median(level_db)]))
    gain = np.clip(1 + OPEN_PER_DB * (level_db - usual_db), 0.6, 1.35)
    return np.asarray(gain, np.float32)


def scene(rng: Generator, flite_share: float) -> Scene:
    """Some ten seconds: silence, one to three utterances with pauses, silence; as recorded."""
    parts: list[NDArray[np.float32]] = []
    shapes: list[NDArray[np.float32]] = []
    for _ in range(int(rng.integers(1, 4))):
        _add_silence(rng, parts, shapes)
        said = speech(rng, flite_share)
        # whole frames, with room for the mouth to close after the last sound
        frames = len(said.samples) // 160 + 30
        samples = np.zeros(frames * 160, np.float32)
        samples[: len(said.samples)] = said.samples
        wanted = track(said.segments, frames)
        wanted[:, 0] *= emphasis(samples, frames)
        parts.append(samples * (0.1 / (float(np.sqrt(np.mean(samples**2))) + 1e-9)))
        shapes.append(np.clip(wanted, 0, 1))
    _add_silence(rng, parts, shapes)
    clean = np.concatenate(parts)
    return _finished(rng, clean, np.concatenate(shapes))


def _add_silence(
    rng: Generator, parts: list[NDArray[np.float32]], shapes: list[NDArray[np.float32]]
) -> None:
    frames = int(rng.uniform(20, 60 if rng.random() < 0.6 else 250))
    parts.append(np.zeros(frames * 160, np.float32))
    shapes.append(np.zeros((frames, 5), np.float32))


def _finished(rng: Generator, clean: NDArray[np.float32], shapes: NDArray[np.float32]) -> Scene:
    sound = augment.recorded(rng, clean, quiet=rng.random() < 0.25)
    lead, tail = (_outside(rng) for _ in range(2))  # what lies outside the recording is zeros
    sound = np.pad(sound, (lead * logmel.HOP, tail * logmel.HOP))
    shapes = np.pad(shapes, ((lead, tail), (0, 0)))
    return Scene(logmel.channels(sound, 0, 0, len(shapes)), shapes)


def _outside(rng: Generator) -> int:
    """Frames of nothing at one end of a recording, as the pipeline pads it; none in half."""
    return int(rng.uniform(10, 150)) if rng.random() < 0.5 else 0


def still_scene(rng: Generator) -> Scene:
    """Eight seconds in which nobody speaks: digital silence, room noise, knocks."""
    length = 8 * RATE_HZ
    sound = np.zeros(length, np.float32)
    kind = rng.random()
    if kind > 0.25:
        sound += room_noise_at(rng, length)
    if kind > 0.7:
        sound += augment.knocks(rng, length) * float(10 ** rng.uniform(-2.5, -0.3))
    frames = length // 160
    return Scene(logmel.channels(sound, 0, 0, frames), np.zeros((frames, 5), np.float32))


def room_noise_at(rng: Generator, length: int) -> NDArray[np.float32]:
    """Room noise at -75 to -20 dB of full scale."""
    return augment.room_noise(rng, length) * np.float32(10 ** (rng.uniform(-75, -20) / 20))


def scenes(seed: int, minutes: float, flite_share: float) -> Iterator[Scene]:
    """Scenes until `minutes` of sound are made, one in ten of them still."""
    rng = np.random.default_rng(seed)
    left = minutes * 60 * logmel.FRAMES_PER_S
    while left > 0:
        made = still_scene(rng) if rng.random() < 0.1 else scene(rng, flite_share)
        left -= len(made.shapes)
        yield made
