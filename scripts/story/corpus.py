"""The corpus: distinct stories by seed, as one stream of ids for training and as held-out lists.

What it is not: the grammar (grammar.py). Training and held-out stories never share a text.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterator

import numpy as np

from scripts.story.bpe import Bpe
from scripts.story.grammar import story
from scripts.story.net import Ids


def stories(seed: int, count: int, but: Container[str] = ()) -> Iterator[str]:
    """`count` stories that differ from each other and from those in `but`."""
    rng = random.Random(seed)  # noqa: S311 - stories, not secrets
    told: set[str] = set()
    while len(told) < count:
        text = story(rng)
        if text not in told and text not in but:
            told.add(text)
            yield text


def stream(bpe: Bpe, texts: list[str]) -> tuple[Ids, Ids]:
    """All ids, each story behind an end of text; and the places of those ends.

    A story's first id follows an end of text, so the network learns to begin one from nothing.
    """
    ids: list[int] = []
    starts: list[int] = []
    for text in texts:
        starts.append(len(ids))
        ids += [bpe.end_id, *bpe.encode(text)]
    return np.array([*ids, bpe.end_id], dtype=np.int64), np.array(starts, dtype=np.int64)
