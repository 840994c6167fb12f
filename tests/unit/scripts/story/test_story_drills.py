"""Drills: sentences about one name, of the hero's sex, and of nobody else."""

from __future__ import annotations

import random
import re

import numpy as np

from scripts.story.bpe import Bpe, learn
from scripts.story.corpus import stories
from scripts.story.drills import _GAP, Drills, sentences
from scripts.story.grammar import grammar

BPE = Bpe(learn(list(stories(1, 60)), 400))
LISTED = {*grammar().words["girl"], *grammar().words["boy"]}


def names(text: str) -> set[str]:
    return LISTED & set(re.findall("[A-Z][a-z]+", text))


def test_each_sentence_is_whole_and_has_a_gap_where_the_hero_was() -> None:
    found = list(sentences(random.Random(1), 40))  # noqa: S311 - stories
    assert len(found) > 100
    assert {pronoun for pronoun, _ in found} == {"she", "he"}
    for _, sentence in found:
        assert _GAP in sentence
        assert sentence[0].isupper() or sentence[0] in ('"', _GAP)
        assert sentence.endswith((".", "!", "?", '"'))


def test_a_row_has_the_length_asked_for_and_one_hero() -> None:
    drills = Drills(BPE, 5, stories=60)
    heroes = set()
    for _ in range(40):
        row = drills.row(120)
        assert row.shape == (120,)
        assert row[0] == BPE.end_id
        text = BPE.decode(row[:-8])  # the last name may be cut
        assert _GAP not in text
        said = names(text)
        # An elder of the story ("Uncle Fred") bears no listed name; a second hero would.
        assert len(said) <= 2
        heroes |= said
    assert len(heroes) > 10


def test_the_same_seed_gives_the_same_rows() -> None:
    rows = [np.stack([Drills(BPE, 5, stories=30).row(64) for _ in range(3)]) for _ in range(2)]
    assert (rows[0] == rows[1]).all()
