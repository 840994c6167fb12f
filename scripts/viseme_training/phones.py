"""What the mouth does for each speech sound: the project's own table, from phonetics.

What it is: IPA letters (espeak-ng's) and ARPAbet names (flite's) to mouth shapes with the strength
each sound has over them. What it is not: measured from anybody's recordings.

Vowels: the opening follows the vowel height and the rounding the lips of the IPA chart (Handbook
of the International Phonetic Association, 1999). Consonants: places of articulation decide, /p b m/
close the lips, /f v/ set the lower lip to the upper teeth, the sibilants bring the teeth together;
sounds made behind the teeth (/k g h/) leave the lips to their neighbours.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass


@dataclass(frozen=True)
class Phone:
    """A sound's mouth: five shapes in 0..1, its strength over lips and jaw, and its reach.

    `strength` is the dominance (1 = an ordinary vowel); `reach_s` how fast it fades outside the
    sound; `sound` whether it is speech at all.
    """

    opening: float
    width: float
    rounding: float
    teeth: float
    closure: float
    strength: float
    reach_s: float
    sound: bool = True

    @property
    def shape(self) -> tuple[float, float, float, float, float]:
        """The five numbers in the order of the model's feature."""
        return (self.opening, self.width, self.rounding, self.teeth, self.closure)


VOWEL_REACH_S = 0.065
REST = Phone(0, 0, 0, 0, 0, 1.5, 0.06, sound=False)
# Whoever draws breath to speak has the lips apart; half of it is left at a breath's loudness.
BREATH = Phone(0.5, 0.1, 0.0, 0.1, 0.0, 1.0, 0.05)


def _vowel(opening: float, width: float, rounding: float, strength: float = 1.0) -> Phone:
    return Phone(opening, width, rounding, 0.15 * (1 - rounding), 0, strength, VOWEL_REACH_S)


def _vowels(letters: str, opening: float, width: float, rounding: float) -> dict[str, Phone]:
    weak = 0.7 if letters[0] in "əɐɪ" else 1.0
    return {letter: _vowel(opening, width, rounding, weak) for letter in letters}


def _all(letters: str, phone: Phone) -> dict[str, Phone]:
    return dict.fromkeys(letters, phone)


LIPS_CLOSED = Phone(0.0, 0.1, 0.1, 0.0, 1.0, 6.0, 0.03)
LIP_TEETH = Phone(0.08, 0.25, 0.1, 0.7, 0.35, 4.0, 0.035)
SIBILANT = Phone(0.24, 0.45, 0.05, 1.0, 0.0, 1.8, 0.04)
HUSHING = Phone(0.28, 0.05, 0.65, 0.9, 0.0, 1.8, 0.045)
TONGUE_TEETH = Phone(0.25, 0.25, 0.0, 0.6, 0.0, 1.2, 0.04)
TONGUE_RIDGE = Phone(0.24, 0.25, 0.05, 0.45, 0.0, 1.0, 0.04)
LATERAL = Phone(0.45, 0.2, 0.05, 0.3, 0.0, 0.9, 0.045)
RHOTIC = Phone(0.24, 0.05, 0.4, 0.25, 0.0, 1.0, 0.05)
PALATAL = Phone(0.28, 0.6, 0.0, 0.35, 0.0, 0.8, 0.045)
VELAR = Phone(0.4, 0.2, 0.05, 0.15, 0.0, 0.3, 0.04)
GLOTTAL = Phone(0.4, 0.15, 0.05, 0.1, 0.0, 0.15, 0.04)
GLIDE_W = Phone(0.08, 0.0, 1.0, 0.0, 0.1, 2.2, 0.06)
GLIDE_Y = Phone(0.15, 0.05, 0.9, 0.05, 0.05, 1.6, 0.06)

IPA: dict[str, Phone] = {
    **_vowels("aɑ", 1.0, 0.3, 0.0),
    **_vowels("æ", 0.9, 0.45, 0.0),
    **_vowels("ɒ", 0.8, 0.05, 0.35),
    **_vowels("ɐʌ", 0.7, 0.25, 0.0),
    **_vowels("ɔ", 0.7, 0.0, 0.6),
    **_vowels("ɛœ", 0.66, 0.4, 0.0),
    **_vowels("eɘ", 0.58, 0.55, 0.0),
    **_vowels("əɚɜɝɞ", 0.48, 0.2, 0.05),
    **_vowels("oɤ", 0.42, 0.0, 0.85),
    **_vowels("øɵ", 0.38, 0.0, 0.75),
    **_vowels("ɪᵻɨ", 0.47, 0.5, 0.0),
    **_vowels("i", 0.45, 0.85, 0.0),
    **_vowels("ʊ", 0.33, 0.0, 0.65),
    **_vowels("uʉɯ", 0.2, 0.0, 1.0),
    **_vowels("yʏ", 0.2, 0.0, 0.95),
    "œ": _vowel(0.55, 0.05, 0.5),
    **_all("pbmɓ", LIPS_CLOSED),
    **_all("fvɱʋβɸ", LIP_TEETH),
    **_all("szɕʑʐʂ", SIBILANT),
    **_all("ʃʒɧ", HUSHING),
    **_all("θð", TONGUE_TEETH),
    **_all("tdnʈɖɳɾɗ", TONGUE_RIDGE),
    **_all("lɫɭʎɬ", LATERAL),
    **_all("rɹɻɽʁʀ", RHOTIC),
    **_all("jɲcɟçʝ", PALATAL),
    **_all("kɡgŋxɣqχɢɴ", VELAR),
    **_all("hɦʔʕħ", GLOTTAL),
    "w": GLIDE_W,
    "ʍ": GLIDE_W,
    "ɥ": GLIDE_Y,
}
# Every mouth that is told apart, for the training's second task: which sound is this?
MOUTHS: tuple[Phone, ...] = (REST, BREATH, *dict.fromkeys(IPA.values()))

# flite's names (CMU pronouncing dictionary) in IPA.
ARPABET: dict[str, str] = {
    **{"aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ"},
    **{"eh": "ɛ", "er": "ɜ", "ey": "eɪ", "ih": "ɪ", "iy": "i", "ow": "oʊ", "oy": "ɔɪ"},
    **{"uh": "ʊ", "uw": "u", "b": "b", "ch": "tʃ", "d": "d", "dh": "ð", "dx": "ɾ", "f": "f"},
    **{"g": "ɡ", "hh": "h", "hv": "ɦ", "jh": "dʒ", "k": "k", "l": "l", "m": "m", "n": "n"},
    **{"ng": "ŋ", "p": "p", "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t", "th": "θ", "v": "v"},
    **{"w": "w", "y": "j", "z": "z", "zh": "ʒ", "en": "n", "em": "m", "el": "l", "pau": ""},
}


def ipa_phones(name: str) -> tuple[Phone, ...]:
    """The mouths of one IPA name in order: "aɪ" has two, "tʃ" two, "" is silence.

    Length, stress, tone and secondary marks say nothing about the lips and are dropped. Raises
    KeyError with the letter that the table does not know.
    """
    letters = [c for c in unicodedata.normalize("NFD", name) if _is_letter(c)]
    if not letters:
        return (REST,)
    return tuple(IPA[letter] for letter in letters)


def _is_letter(char: str) -> bool:
    """Whether it stands for a sound: modifier letters (ː ʰ ʲ ˈ), accents and digits do not."""
    return unicodedata.category(char) in ("Ll", "Lo") or char == "ᵻ"


def arpabet_phones(name: str) -> tuple[Phone, ...]:
    """The same for a name of flite's; raises KeyError for an unknown one."""
    return ipa_phones(ARPABET[name])
