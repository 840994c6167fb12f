"""Mouth tracks: dominance, rests, smoothness."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.viseme_training.phones import IPA, REST, ipa_phones
from scripts.viseme_training.targets import (
    PLATEAU,
    Segment,
    dominance,
    smooth,
    spread,
    track,
    with_rests,
)


def said(*names: str, each_s: float = 0.12, start_s: float = 0.6) -> list[Segment]:
    segments: list[Segment] = []
    for index, name in enumerate(names):
        begin = start_s + index * each_s
        segments += spread(ipa_phones(name), begin, begin + each_s)
    return segments


def test_a_diphthong_shares_its_time() -> None:
    first, second = spread(ipa_phones("aɪ"), 1.0, 1.4)
    assert (first.phone, first.start_s) == (IPA["a"], 1.0)
    assert first.end_s == second.start_s == pytest.approx(1.2)
    assert (second.phone, second.end_s) == (IPA["ɪ"], 1.4)


def test_gaps_and_both_ends_become_rests_that_do_not_touch() -> None:
    a, b = Segment(IPA["a"], 0.5, 0.7), Segment(IPA["m"], 1.0, 1.1)
    got = with_rests([Segment(REST, 0.2, 0.5), a, Segment(REST, 0.7, 0.8), b], 2.0)
    assert got == [
        Segment(REST, 0.0, 0.5),
        a,
        Segment(REST, 0.7, 1.0),
        b,
        Segment(REST, 1.1, 2.0),
    ]


def test_dominance_is_flat_in_the_middle_and_fades_by_e_per_reach() -> None:
    phone = IPA["a"]
    segment = Segment(phone, 1.0, 1.2)
    edge = 1.1 + PLATEAU * 0.1
    times = np.array([1.1, edge, edge + phone.reach_s, edge + 2 * phone.reach_s])
    assert dominance(segment, times) == pytest.approx(
        phone.strength * np.exp([0.0, 0.0, -1.0, -2.0])
    )


def test_a_long_pause_dominates_more_than_a_short_one() -> None:
    short, long = Segment(REST, 1.0, 1.06), Segment(REST, 0.7, 1.36)
    at = np.array([1.03])
    assert dominance(short, at)[0] < 0.3 * dominance(long, at)[0]


def test_nothing_said_is_rest() -> None:
    assert not track([], 100).any()


def test_the_lips_close_between_two_open_vowels_for_a_short_m() -> None:
    got = track(said("a", "m", "a"), 160)
    vowel, closed = got[66], got[78]
    assert vowel[0] > 0.6
    assert closed[0] < 0.15
    assert closed[4] > 0.8


def test_lips_round_before_the_rounded_vowel_sounds() -> None:
    rounded, plain = track(said("t", "u"), 140), track(said("t", "i"), 140)
    assert rounded[66, 2] > plain[66, 2] + 0.2  # in the middle of the t


def test_before_and_after_speech_the_lips_come_to_rest() -> None:
    got = track(said("a", "s", "a"), 200)
    assert got[:30].max() < 0.02
    assert got[140:].max() < 0.02
    assert got[58, 0] > 0.1  # they part before the sound begins


def test_a_track_stays_within_zero_and_one_and_moves_smoothly() -> None:
    got = track(said("p", "a", "tʃ", "u", "v", "i", "m", "aʊ", "s"), 260)
    assert got.min() >= 0
    assert got.max() <= 1
    assert np.abs(np.diff(got, axis=0)).max() < 0.2
    assert np.abs(np.diff(got, n=2, axis=0)).max() < 0.06


def test_smoothing_keeps_a_constant_and_the_area() -> None:
    rows = np.zeros((60, 2))
    rows[:, 0], rows[30, 1] = 3.0, 1.0
    got = smooth(rows, 2.5)
    assert got[:, 0] == pytest.approx(np.full(60, 3.0))
    assert got[:, 1].sum() == pytest.approx(1.0)
    assert got[30, 1] == pytest.approx(1 / (2.5 * np.sqrt(2 * np.pi)), rel=0.02)
