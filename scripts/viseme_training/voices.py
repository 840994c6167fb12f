"""Synthetic speakers with known sound times: libespeak-ng through ctypes, flite as a program.

What it is: text in, 16 kHz samples and timed mouths out. What it is not: needed by the server.
Needs the Debian packages libespeak-ng1 and flite.
"""

from __future__ import annotations

import ctypes
import math
import subprocess
import tempfile
import wave
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from scripts.viseme_training.phones import arpabet_phones, ipa_phones
from scripts.viseme_training.targets import Segment, spread

RATE_HZ = 16000
LIBRARY = "libespeak-ng.so.1"
_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS of speak_lib.h
_PHONEMES_AS_IPA = 1 | 2  # espeakINITIALIZE_PHONEME_EVENTS | espeakINITIALIZE_PHONEME_IPA
_EVENT_END, _EVENT_PHONEME = 0, 7
_SET_RATE, _SET_PITCH, _SET_RANGE = 1, 3, 4  # espeak_PARAMETER
_UTF8 = 1
FLITE_VOICES = ("slt", "rms", "awb", "kal16")


class SpeakerError(RuntimeError):
    """A speech program is missing or failed; the message says which and what to install."""


class MuteError(SpeakerError):
    """The text has no sound in this voice."""


@dataclass(frozen=True, eq=False)
class Speech:
    """Samples float32 at 16 kHz and the mouths that made them, in time order."""

    samples: NDArray[np.float32]
    segments: list[Segment]


@dataclass(frozen=True)
class Named:
    """A sound's name as the synthesiser gives it, and where it starts in seconds."""

    name: str
    start_s: float


class _Id(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Id),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Espeak:
    """The library, opened once per process (it keeps global state)."""

    def __init__(self) -> None:
        try:
            self._lib = ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise SpeakerError(f"{LIBRARY} is missing: apt install libespeak-ng1") from error
        self.rate_hz = self._lib.espeak_Initialize(_SYNCHRONOUS, 500, None, _PHONEMES_AS_IPA)
        self._wave: list[NDArray[np.int16]] = []
        self._names: list[Named] = []
        self._callback = _Callback(self._collect)
        self._lib.espeak_SetSynthCallback(self._callback)

    def say(
        self, text: str, voice: str, rate_wpm: int = 170, pitch: int = 50, pitch_range: int = 50
    ) -> tuple[NDArray[np.float32], list[Named]]:
        """Samples at `rate_hz` and the names of the sounds; raises SpeakerError without the voice.

        `voice` is espeak's: a language and a variant, "en+f2". `rate_wpm` in words a minute,
        `pitch` and `pitch_range` 0..99.
        """
        self._wave, self._names = [], []
        if self._lib.espeak_SetVoiceByName(voice.encode()) != 0:
            raise SpeakerError(f"espeak-ng has no voice {voice!r}")
        for key, value in ((_SET_RATE, rate_wpm), (_SET_PITCH, pitch), (_SET_RANGE, pitch_range)):
            self._lib.espeak_SetParameter(key, value, 0)
        raw = text.encode()
        self._lib.espeak_Synth(raw, len(raw) + 1, 0, 1, 0, _UTF8, None, None)
        self._lib.espeak_Synchronize()
        if not self._wave:
            raise MuteError(f"espeak-ng made no sound of {text!r} as {voice!r}")
        return pcm16(np.concatenate(self._wave)), self._names

    def _collect(self, samples: Any, count: int, events: Any) -> int:
        if samples and count > 0:
            self._wave.append(np.ctypeslib.as_array(samples, (count,)).copy())
        index = 0
        while events[index].type != _EVENT_END:
            if events[index].type == _EVENT_PHONEME:
                name = ctypes.string_at(ctypes.addressof(events[index].id), 8).split(b"\0")[0]
                start_s = events[index].sample / self.rate_hz
                self._names.append(Named(name.decode("utf-8", "ignore"), start_s))
            index += 1
        return 0


@cache
def espeak() -> Espeak:
    """The one instance of this process."""
    return Espeak()


def espeak_speech(text: str, voice: str, rate_wpm: int, pitch: int, pitch_range: int) -> Speech:
    """One utterance of espeak-ng's; raises KeyError for a sound that the table lacks."""
    samples, names = espeak().say(text, voice, rate_wpm, pitch, pitch_range)
    up = math.gcd(RATE_HZ, espeak().rate_hz)
    audio = resample_poly(samples, RATE_HZ // up, espeak().rate_hz // up).astype(np.float32)
    sounds = [n for n in names if not n.name.startswith("(")]  # "(en)" marks a change of language
    ends = [n.start_s for n in sounds[1:]] + [len(audio) / RATE_HZ]
    segments: list[Segment] = []
    for sound, end_s in zip(sounds, ends, strict=True):
        if end_s > sound.start_s:
            segments += spread(ipa_phones(sound.name), sound.start_s, end_s)
    return Speech(audio, segments)


def flite_speech(text: str, voice: str, stretch: float, pitch_hz: float) -> Speech:
    """One utterance of flite's, whose voices are cut from recordings of people.

    `stretch` slows the speech down (1.2 = 20 % longer), `pitch_hz` is the mean pitch.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        settings = [f"duration_stretch={stretch:.3f}", f"int_f0_target_mean={pitch_hz:.1f}"]
        flags = [flag for setting in settings for flag in ("--setf", setting)]
        command = ["flite", "-voice", voice, *flags, "-psdur", "-t", text, "-o", str(path)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True)
        except FileNotFoundError as error:
            raise SpeakerError("flite is missing: apt install flite") from error
        samples = read_wav(path)
    return Speech(samples, flite_segments(done.stdout))


def flite_segments(line: str) -> list[Segment]:
    """Segments of flite's "name:end name:end ..." line."""
    segments: list[Segment] = []
    start_s = 0.0
    for word in line.split():
        name, end = word.split(":")
        segments += spread(arpabet_phones(name), start_s, float(end))
        start_s = float(end)
    return segments


def pcm16(values: NDArray[np.int16]) -> NDArray[np.float32]:
    """Whole numbers of 16 bits as -1..1."""
    return np.asarray(values / np.float32(32768), np.float32)


def read_wav(path: Path) -> NDArray[np.float32]:
    """A 16-bit mono file at 16 kHz."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE_HZ, 1, 2):
            raise SpeakerError(f"{path.name} is not 16-bit mono at {RATE_HZ} Hz")
        raw = file.readframes(file.getnframes())
    return pcm16(np.frombuffer(raw, np.int16))
