"""Continuations of prompts by the trained network, to be read by people.

What it is not: the server's sampling (models/text/sampling.py); it computes everything anew for
each token.
"""

from __future__ import annotations

import random

import torch

from scripts.story.bpe import Bpe
from scripts.story.grammar import Teller, grammar
from scripts.story.net import StoryNet

PROMPTS = (
    "",
    "Once upon a time there was a dragon who",
    "Quentin the camel wanted to learn to sing.",
    '"Where is my golden umbrella?" asked Priya.',
    "It was a stormy night. Suddenly there was a knock at the door.",
    "The little mermaid Coralie was afraid of the dark.",
    "In the garden, Bruno found an old map.",
    "Grandma's birthday was tomorrow, and Yusuf had no present.",
    "Zelda and Kofi were best friends. One day they",
    "The old lighthouse stood",
)


@torch.inference_mode()
def continuation(
    net: StoryNet, bpe: Bpe, prompt: str, *, temperature: float = 0.7, seed: int = 0
) -> str:
    """The prompt and what follows, up to the end of the text or of the block.

    `temperature` 0 takes the likeliest id each time.
    """
    chance = torch.Generator().manual_seed(seed)
    ids = [bpe.end_id, *bpe.encode(prompt)]
    while len(ids) < net.shape.block_size:
        logits = net(torch.tensor([ids]))[0, -1]
        if temperature:
            shares = torch.softmax(logits / temperature, 0)
            chosen = int(torch.multinomial(shares, 1, generator=chance))
        else:
            chosen = int(logits.argmax())
        if chosen == bpe.end_id:
            break
        ids.append(chosen)
    return bpe.decode(ids)


@torch.inference_mode()
def carried_over(net: StoryNet, bpe: Bpe, count: int, seed: int) -> dict[str, tuple[int, int]]:
    """How often names and colours are foreseen once a story has said them: (foreseen, mentions).

    A mention counts as foreseen when each of its ids is the likeliest after the true text.
    """
    rng = random.Random(seed)  # noqa: S311 - stories, not secrets
    listed = {*grammar().words["girl"], *grammar().words["boy"]}
    found = {"listed names": (0, 0), "invented names": (0, 0), "colours": (0, 0)}
    for _ in range(count):
        teller = Teller(rng)
        text = teller.tell(rng.choice(sorted(grammar().plots)))
        ids = [bpe.end_id, *bpe.encode(text)][: net.shape.block_size]
        likeliest = net(torch.tensor([ids]))[0].argmax(-1).tolist()
        for key in ("N", "colour", "F0"):
            if word := teller.known.get(key):
                kind = "listed names" if word in listed else "invented names"
                kind = "colours" if key == "colour" else kind
                good, all_ = _foreseen(ids, likeliest, bpe.encode(" " + word))
                found[kind] = (found[kind][0] + good, found[kind][1] + all_)
    return found


def _foreseen(ids: list[int], likeliest: list[int], word: list[int]) -> tuple[int, int]:
    """Later mentions of a word that were foreseen, and all of them; the first is not counted."""
    size = len(word)
    places = [i for i in range(1, len(ids) - size) if ids[i : i + size] == word][1:]
    return sum(likeliest[i - 1 : i - 1 + size] == word for i in places), len(places)
