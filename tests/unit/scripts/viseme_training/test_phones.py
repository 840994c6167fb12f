"""The table of sounds is sane and covers what the speech programs say."""

from __future__ import annotations

import pytest

from scripts.viseme_training import phones
from scripts.viseme_training.phones import IPA, REST, arpabet_phones, ipa_phones


def test_every_shape_lies_between_zero_and_one() -> None:
    for letter, phone in IPA.items():
        assert all(0 <= value <= 1 for value in phone.shape), letter
        assert phone.strength > 0, letter
        assert phone.reach_s > 0, letter


def test_rest_is_all_zeros_and_no_sound() -> None:
    assert not any(REST.shape)
    assert not REST.sound


@pytest.mark.parametrize("letter", "pbm")
def test_bilabials_close_the_lips(letter: str) -> None:
    assert IPA[letter].closure == 1
    assert IPA[letter].opening == 0
    assert IPA[letter].strength > 3 * IPA["a"].strength


def test_open_vowels_open_wider_than_mid_ones_and_those_than_close_ones() -> None:
    assert IPA["a"].opening > IPA["ɛ"].opening > IPA["e"].opening > IPA["i"].opening
    assert IPA["ɔ"].opening > IPA["o"].opening > IPA["u"].opening


def test_the_lips_round_for_u_and_spread_for_i() -> None:
    assert IPA["u"].rounding > 0.9 > IPA["i"].rounding
    assert IPA["i"].width > 0.7 > IPA["u"].width


@pytest.mark.parametrize("letter", "szfv")
def test_teeth_show_in_sibilants_and_lip_teeth_sounds(letter: str) -> None:
    assert IPA[letter].teeth >= 0.7


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("aɪ", ("a", "ɪ")),
        ("tʃ", ("t", "ʃ")),
        ("ɔː", ("ɔ",)),
        ("ɔ̃", ("ɔ",)),
        ("tʰ", ("t",)),
        ("ˈe", ("e",)),
        ("n̩", ("n",)),
        ("ç", ("c",)),  # a cedilla is an accent to Unicode; both are palatal
    ],
)
def test_names_fall_into_their_sounds(name: str, parts: tuple[str, ...]) -> None:
    assert ipa_phones(name) == tuple(IPA[part] for part in parts)


@pytest.mark.parametrize("name", ["", "ː", "1", "_:", "ˈ"])
def test_a_name_without_a_sound_is_rest(name: str) -> None:
    assert ipa_phones(name) == (REST,)


def test_an_unknown_sound_is_named() -> None:
    with pytest.raises(KeyError, match="ж"):
        ipa_phones("aж")


def test_all_of_the_arpabet_is_known() -> None:
    for name in phones.ARPABET:
        assert arpabet_phones(name)
    assert arpabet_phones("pau") == (REST,)
