"""Drills: rows of sentences about one name, by which the network learns to look names up.

What it is not: stories (corpus.py). A small network that sees stories alone says a likely name, not
the one that the story has, for thousands of steps: the gain from attending to a name said earlier
is spread thin over a story. In a drill nothing follows from the sentence before but the name.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import numpy as np

from scripts.story.bpe import Bpe
from scripts.story.grammar import Teller, grammar
from scripts.story.net import Ids

STORIES = 4000
"""Stories whose sentences are used; some 20,000 sentences."""
_GAP = "\N{SYMBOL FOR NULL}"
_SENTENCE = re.compile(r'\S.*?[.!?]"?(?=\s+["A-Z]|$)')


def sentences(rng: random.Random, stories: int) -> Iterator[tuple[str, str]]:
    """The hero's pronoun, and a sentence with a gap for each mention of the hero. Sentences that
    name the friend, too, are left out.
    """
    for _ in range(stories):
        teller = Teller(rng)
        text = teller.tell(rng.choice(sorted(grammar().plots)))
        hero, friend, pronoun = (teller.known[key] for key in ("N", "F0", "he"))
        for sentence in _SENTENCE.findall(text):
            gapped = re.sub(rf"\b{hero}\b", _GAP, sentence.strip())
            if _GAP in gapped and friend not in gapped:
                yield pronoun, gapped


class Drills:
    """Makes rows; all of them follow from the seed."""

    def __init__(self, bpe: Bpe, seed: int, stories: int = STORIES) -> None:
        self._bpe = bpe
        self._rng = random.Random(seed)  # noqa: S311 - stories, not secrets
        self._lines: dict[str, list[str]] = {}
        for pronoun, sentence in sentences(self._rng, stories):
            self._lines.setdefault(pronoun, []).append(sentence)

    def row(self, length: int) -> Ids:
        """`length` ids of sentences about one hero, who has a name of the stories' kinds."""
        rng = self._rng
        pronoun = rng.choice(sorted(self._lines))
        name = Teller(rng).name("girl" if pronoun == "she" else "boy")
        ids: list[int] = [self._bpe.end_id]
        while len(ids) < length:
            sentence = rng.choice(self._lines[pronoun]).replace(_GAP, name)
            ids += self._bpe.encode(sentence if len(ids) == 1 else " " + sentence)
        return np.array(ids[:length], dtype=np.int64)
