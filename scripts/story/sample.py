"""Continuations of prompts by the trained network, to be read by people.

What it is not: the server's sampling (models/text/sampling.py); it computes everything anew for
each token.
"""

from __future__ import annotations

import torch

from scripts.story.bpe import Bpe
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
    random = torch.Generator().manual_seed(seed)
    ids = [bpe.end_id, *bpe.encode(prompt)]
    while len(ids) < net.shape.block_size:
        logits = net(torch.tensor([ids]))[0, -1]
        if temperature:
            shares = torch.softmax(logits / temperature, 0)
            chosen = int(torch.multinomial(shares, 1, generator=random))
        else:
            chosen = int(logits.argmax())
        if chosen == bpe.end_id:
            break
        ids.append(chosen)
    return bpe.decode(ids)
