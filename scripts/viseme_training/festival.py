"""Synthetic speakers of Festival's, in six languages, with known sound times.

What it is: text in, 16 kHz samples and timed mouths out, by the program `festival`. What it is not:
needed by the server. Needs the Debian packages festival, festlex-cmu, festlex-poslex and those of
the voices (`PACKAGES`).
"""

from __future__ import annotations

import subprocess
import tempfile
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from scripts.viseme_training.phones import ARPABET, Phone, ipa_phones
from scripts.viseme_training.targets import Segment, spread
from scripts.viseme_training.voices import RATE_HZ, MuteError, SpeakerError, Speech, pcm16

PACKAGES = (
    "festvox-kdlpc16k festvox-us-slt-hts festvox-italp16k festvox-itapc16k festvox-ca-ona-hts "
    "festvox-suopuhe-lj festvox-suopuhe-mv festvox-ru"
)
_SILENCE = {"#": "", "pau": "", "h#": "", "brth": "", "_": ""}
_SAME = {letter: letter for letter in "abdefghijklmnoprstuvwyz"}
_ROMANCE = {
    **_SAME,
    **{"E": "ɛ", "O": "ɔ", "ax": "ə", "S": "ʃ", "Z": "ʒ", "tS": "tʃ", "dZ": "dʒ", "ts": "ts"},
    **{"dz": "dz", "J": "ɲ", "L": "ʎ", "ng": "ŋ", "nf": "ɱ", "rr": "r", "y": "j", "g": "ɡ"},
}
_FINNISH = {**_SAME, "oe": "ø", "ae": "æ", "ng": "ŋ", "S": "ʃ", "T": "t", "D": "d", "g": "ɡ"}
_RUSSIAN = {
    **_SAME,
    **{"aa": "a", "ae": "æ", "ay": "ɪ", "ee": "e", "ii": "i", "oo": "o", "uu": "u", "ur": "ʊ"},
    **{"yy": "ɨ", "y": "ɨ", "zh": "ʒ", "sh": "ʃ", "ch": "tʃ", "sch": "ʃ", "c": "ts", "h": "x"},
    **{2 * letter: letter for letter in "bdfgklmnprstvz"},
    **{"hh": "x", "g": "ɡ", "gg": "ɡ"},
}


@dataclass(frozen=True)
class Voice:
    """One of Festival's: its name, what its sounds are in IPA, whether it reads English."""

    name: str
    sounds: Mapping[str, str]
    english: bool = False


VOICES = (
    Voice("ked_diphone", ARPABET, english=True),
    Voice("cmu_us_slt_arctic_hts", ARPABET, english=True),
    Voice("lp_diphone", _ROMANCE),
    Voice("pc_diphone", _ROMANCE),
    Voice("upc_ca_ona_hts", _ROMANCE),
    Voice("hy_fi_mv_diphone", _FINNISH),
    Voice("suo_fi_lj_diphone", _FINNISH),
    Voice("msu_ru_nsh_clunits", _RUSSIAN),
)
SHARES = (0.3, 0.2, 0.12, 0.12, 0.08, 0.07, 0.07, 0.04)
"""How often each is drawn."""


def festival_speech(text: str, voice: Voice, stretch: float) -> Speech:
    """One utterance; `stretch` slows it down (1.2 = 20 % longer; some voices ignore it).

    Raises:
        KeyError: a sound that the table lacks.
        MuteError: nothing to be heard.
        SpeakerError: the program or the voice is missing.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        script = folder / "say.scm"
        script.write_text(
            f"(voice_{voice.name})\n(Parameter.set 'Duration_Stretch {stretch:.3f})\n"
            f'(set! said (utt.synth (Utterance Text "{plain(text)}")))\n'
            f'(utt.save.segs said "{folder}/segs")\n(utt.save.wave said "{folder}/wav" \'riff)\n'
        )
        try:
            ran = subprocess.run(["festival", "-b", str(script)], capture_output=True, text=True)
        except FileNotFoundError as error:
            raise SpeakerError(f"festival is missing: apt install festival {PACKAGES}") from error
        if "unbound variable" in ran.stderr:
            raise SpeakerError(f"festival has no voice {voice.name}: apt install {PACKAGES}")
        if ran.returncode != 0 or not (folder / "wav").is_file():
            raise MuteError(f"festival made no sound of {text!r} as {voice.name}")
        return Speech(_sound(folder / "wav"), segments((folder / "segs").read_text(), voice.sounds))


def plain(text: str) -> str:
    """The text without what would end a string of Scheme's."""
    return text.replace("\\", " ").replace('"', " ")


def segments(labels: str, sounds: Mapping[str, str]) -> list[Segment]:
    """Segments of a label file: a "#" line, then "end 100 name" per line."""
    found: list[Segment] = []
    start_s = 0.0
    for line in labels.splitlines():
        fields = line.split()
        if len(fields) != 3:
            continue
        end_s = float(fields[0])
        if end_s > start_s:
            found += spread(_phones(fields[2], sounds), start_s, end_s)
            start_s = end_s
    return found


def _phones(name: str, sounds: Mapping[str, str]) -> tuple[Phone, ...]:
    """The mouths of one name; a digit at its end marks stress."""
    if name in _SILENCE:
        return ipa_phones("")
    return ipa_phones(sounds[name.rstrip("01")])


def _sound(path: Path) -> NDArray[np.float32]:
    with wave.open(str(path)) as file:
        rate_hz = file.getframerate()
        samples = pcm16(np.frombuffer(file.readframes(file.getnframes()), np.int16))
    if len(samples) < RATE_HZ // 10:
        raise MuteError("less than a tenth of a second of sound")
    divisor = int(np.gcd(RATE_HZ, rate_hz))
    return np.asarray(resample_poly(samples, RATE_HZ // divisor, rate_hz // divisor), np.float32)
