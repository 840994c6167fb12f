"""The training set: scenes of synthetic speech and silence with their mouth tracks.

What it is: seeded; the same seed and programs give the same scenes. What it is not: stored; it is
made anew in a minute or two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.audio import logmel
from scripts.viseme_training import augment, festival
from scripts.viseme_training.phones import BREATH, MOUTHS
from scripts.viseme_training.targets import Segment, smooth, track
from scripts.viseme_training.texts import text
from scripts.viseme_training.voices import (
    FLITE_VOICES,
    MuteError,
    Speech,
    espeak_speech,
    flite_speech,
)

MUSIC_SHARE = 0.12
BREATH_SHARE = 0.45
STILL_SHARE = 0.22

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
OPEN_PER_DB = 0.02


@dataclass(frozen=True)
class Mix:
    """Whose speech it is, as shares of 1; the rest is espeak-ng's."""

    flite: float = 0.42
    festival: float = 0.2


USUAL = Mix()


@dataclass(frozen=True, eq=False)
class Scene:
    """Network input [n, CHANNELS], the wanted shapes [n, 5], whether somebody speaks [n], 0..1, and
    which of `MOUTHS` sounds [n]; all at 100 Hz.
    """

    channels: NDArray[np.float32]
    shapes: NDArray[np.float32]
    voice: NDArray[np.float32]
    mouths: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Part:
    """A stretch of clean sound [160 n], its wanted shapes and voice [n, 6], its mouths [n]."""

    samples: NDArray[np.float32]
    wanted: NDArray[np.float32]
    mouths: NDArray[np.int64]


def speech(rng: Generator, mix: Mix) -> Speech:
    """One utterance by a speaker drawn at random."""
    while True:
        kind = rng.random()
        try:
            if kind < mix.flite:
                said = _flite(rng)
            elif kind < mix.flite + mix.festival:
                said = _festival(rng)
            else:
                said = _espeak(rng)
        except (KeyError, MuteError):
            continue  # a sound beyond the table, or nonsense that has no sound
        return said


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


def _festival(rng: Generator) -> Speech:
    voice = festival.VOICES[int(rng.choice(len(festival.VOICES), p=festival.SHARES))]
    said = text(rng, voice.english)
    return festival.festival_speech(said, voice, float(rng.uniform(0.8, 1.25)))


def _resized(rng: Generator, said: Speech) -> Speech:
    if rng.random() < 0.3:
        return said
    factor = float(rng.uniform(0.84, 1.18))
    segments = [Segment(s.phone, s.start_s * factor, s.end_s * factor) for s in said.segments]
    return Speech(augment.resized(said.samples, factor), segments)


def emphasis(samples: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """How much more or less than usual the mouth opens at each frame [frames], 0.7..1.35.

    From the level over some 100 ms against the mean level of the louder half of the utterance.
    """
    power = logmel.log_mel(samples, 0, 0, frames)[:, logmel.BANDS]
    level_db = smooth(power[:, None].astype(np.float64) * (10 / np.log(10)), 6.0)[:, 0]
    usual_db = float(np.mean(level_db[level_db >= np.median(level_db)]))
    gain = np.clip(1 + OPEN_PER_DB * (level_db - usual_db), 0.7, 1.35)
    return np.asarray(gain, np.float32)


def scene(rng: Generator, said: Iterator[Speech]) -> Scene:
    """Some ten seconds: silence, one to three utterances with pauses, silence; as recorded."""
    snr_db = None if rng.random() < 0.25 else float(rng.uniform(8, 55))
    parts = [_silence(rng)]
    for _ in range(int(rng.integers(1, 4))):
        one = _levelled(next(said))
        parts.append(_uttered(breathing(rng, one, snr_db) if rng.random() < BREATH_SHARE else one))
        parts.append(_silence(rng))
    whole = Part(
        np.concatenate([part.samples for part in parts]),
        np.concatenate([part.wanted for part in parts]),
        np.concatenate([part.mouths for part in parts]),
    )
    return _finished(rng, whole, snr_db)


def _levelled(said: Speech) -> Speech:
    """At an RMS of 0.1."""
    loud = float(np.sqrt(np.mean(said.samples**2))) + 1e-9
    return Speech(said.samples * np.float32(0.1 / loud), said.segments)


def breathing(rng: Generator, said: Speech, snr_db: float | None) -> Speech:
    """The same, after a breath drawn through parted lips, which the room's noise does not drown."""
    sounds = [s.start_s for s in said.segments if s.phone.sound]
    length_s, gap_s = rng.uniform(0.15, 0.7), rng.uniform(0.0, 0.15)
    lead = round((length_s + 0.3) * RATE_HZ)
    late_s = lead / RATE_HZ
    end_s = late_s + min(sounds, default=0.0) - gap_s
    begin = round((end_s - length_s) * RATE_HZ)
    loudest_db = -20.0
    level_db = rng.uniform(max(-46.0, min(-(snr_db or 60.0), loudest_db)), loudest_db)
    samples = np.pad(said.samples, (lead, 0))
    noise = augment.breath(rng, round(length_s * RATE_HZ))
    samples[begin : begin + len(noise)] += noise * np.float32(0.1 * 10 ** (level_db / 20))
    moved = [Segment(s.phone, s.start_s + late_s, s.end_s + late_s) for s in said.segments]
    drawn = Segment(BREATH, end_s - length_s, end_s)
    return Speech(samples, [drawn, *(s for s in moved if s.phone.sound)])


def _uttered(said: Speech) -> Part:
    """Whole frames, with room for the mouth to close after the last sound."""
    frames = len(said.samples) // logmel.HOP + 30
    samples = np.zeros(frames * logmel.HOP, np.float32)
    samples[: len(said.samples)] = said.samples
    wanted = track(said.segments, frames)
    wanted[:, 0] *= emphasis(samples, frames)
    rows = np.column_stack([np.clip(wanted, 0, 1), spoken(said.segments, frames)])
    return Part(samples, rows, sounding(said.segments, frames))


def sounding(segments: list[Segment], frames: int) -> NDArray[np.int64]:
    """Which of `MOUTHS` each frame belongs to, [frames]."""
    mouths = np.zeros(frames, np.int64)
    for segment in segments:
        low, high = round(100 * segment.start_s), round(100 * segment.end_s)
        mouths[max(0, low) : max(0, high)] = MOUTHS.index(segment.phone)
    return mouths


def spoken(segments: list[Segment], frames: int) -> NDArray[np.float32]:
    """1 while somebody speaks, [frames]: pauses of a quarter of a second or less count as speech,
    and so does a tenth of a second around it, in which the mouth opens and closes.
    """
    voice = np.zeros(frames)
    for segment in segments:
        if segment.phone.sound:
            low, high = int(100 * segment.start_s) - 12, int(100 * segment.end_s) + 13
            voice[max(0, low) : max(0, high)] = 1
    return np.asarray(smooth(voice[:, None], 2.0)[:, 0], np.float32)


def _silence(rng: Generator) -> Part:
    frames = int(rng.uniform(20, 60 if rng.random() < 0.6 else 250))
    return _nobody(np.zeros(frames * logmel.HOP, np.float32))


def _nobody(sound: NDArray[np.float32]) -> Part:
    frames = len(sound) // logmel.HOP
    return Part(sound, np.zeros((frames, 6), np.float32), np.zeros(frames, np.int64))


def _finished(rng: Generator, part: Part, snr_db: float | None) -> Scene:
    clean = part.samples
    if rng.random() < MUSIC_SHARE:
        loud = float(np.sqrt(np.mean(clean**2)))
        clean = clean + augment.music(rng, len(clean)) * loud * 10 ** (-rng.uniform(6, 22) / 20)
    late = _late(rng)
    sound = augment.recorded(rng, clean, snr_db)[late * logmel.HOP :]
    part = Part(sound, part.wanted[late:], part.mouths[late:])
    lead, tail = (_outside(rng) for _ in range(2))  # what lies outside the recording is zeros
    sound = np.pad(sound, (lead * logmel.HOP, tail * logmel.HOP))
    wanted = np.pad(part.wanted, ((lead, tail), (0, 0)))
    seen = logmel.channels(sound, 0, 0, len(wanted))
    return Scene(seen, wanted[:, :5], wanted[:, 5], np.pad(part.mouths, (lead, tail)))


def _late(rng: Generator) -> int:
    """Frames by which the recording begins late, in a breath or a word, as cut films do."""
    return int(rng.uniform(0, 150)) if rng.random() < 0.4 else 0


def _outside(rng: Generator) -> int:
    """Frames of nothing at one end of a recording, as the pipeline pads it; none in half."""
    return int(rng.uniform(10, 150)) if rng.random() < 0.5 else 0


def still_scene(rng: Generator) -> Scene:
    """Eight seconds in which nobody speaks: digital silence, room noise, knocks, music."""
    length = 8 * RATE_HZ
    sound = np.zeros(length, np.float32)
    kind = rng.random()
    if kind > 0.25:
        noise = room_noise_at(rng, length)
        sound += augment.switched(rng, noise) if rng.random() < 0.3 else noise
    if kind > 0.7:
        sound += augment.knocks(rng, length) * float(10 ** rng.uniform(-2.5, -0.3))
    if rng.random() < 0.4:
        sound = augment.music(rng, length) * np.float32(10 ** rng.uniform(-2.5, -0.7)) + sound * 0.1
    part = _nobody(sound)
    seen = logmel.channels(sound, 0, 0, len(part.wanted))
    return Scene(seen, part.wanted[:, :5], part.wanted[:, 5], part.mouths)


def room_noise_at(rng: Generator, length: int) -> NDArray[np.float32]:
    """Room noise at -75 to -20 dB of full scale."""
    return augment.room_noise(rng, length) * np.float32(10 ** (rng.uniform(-75, -20) / 20))


def speeches(seed: int, minutes: float, mix: Mix = USUAL) -> list[Speech]:
    """Utterances until `minutes` of sound are made."""
    rng = np.random.default_rng(seed)
    made: list[Speech] = []
    left = minutes * 60 * RATE_HZ
    while left > 0:
        made.append(speech(rng, mix))
        left -= len(made[-1].samples)
    return made


def scenes(seed: int, minutes: float, said: Sequence[Speech]) -> Iterator[Scene]:
    """Scenes until `minutes` of sound are made, two in nine of them still.

    They use all utterances before they use one again, then from another room and throat.
    """
    rng = np.random.default_rng(seed)
    drawn = _again_and_again(rng, said)
    left = minutes * 60 * logmel.FRAMES_PER_S
    while left > 0:
        made = still_scene(rng) if rng.random() < STILL_SHARE else scene(rng, drawn)
        left -= len(made.shapes)
        yield made


def _again_and_again(rng: Generator, said: Sequence[Speech]) -> Iterator[Speech]:
    while True:
        for index in rng.permutation(len(said)):
            yield _resized(rng, said[int(index)])
