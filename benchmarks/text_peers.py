"""The peers of benchmarks/text.py in one process: Hugging Face's `generate` and a naive loop.

What it is not: part of the server. The naive loop is our own rewriting of the way nanoGPT samples
(the whole context at every token) and is called naive wherever it is shown.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

THREADS = 2


def make_checkpoint(folder: Path, seed: int = 0) -> Path:
    """GPT-2 124M with seeded weights, as Hugging Face writes it."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    # A wider spread than GPT-2's 0.02 keeps the likeliest tokens apart, so that greedy texts of two
    # implementations can be compared token by token.
    model = GPT2LMHeadModel(GPT2Config(initializer_range=0.05))
    model.save_pretrained(folder)
    return folder


def load_hugging_face(checkpoint: Path) -> Any:
    """The peer's model, in fp32."""
    from transformers import GPT2LMHeadModel

    torch.set_num_threads(THREADS)
    return GPT2LMHeadModel.from_pretrained(checkpoint, dtype=torch.float32).eval()


def greedy(model: Any, prompts: list[list[int]], count: int) -> list[list[int]]:
    """`count` greedy new tokens after each prompt, in one batch; prompts of one length."""
    ids = torch.tensor(prompts)
    with torch.inference_mode():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
    return [row[ids.shape[1] :].tolist() for row in out]


def hugging_face_text(model: Any, prompt: list[int], count: int) -> tuple[list[int], float]:
    """Greedy new tokens and the seconds they took."""
    began = time.perf_counter()
    (made,) = greedy(model, [prompt], count)
    return made, time.perf_counter() - began


def naive_text(model: Any, prompt: list[int], count: int) -> tuple[list[int], float]:
    """The same by running the whole context for every token."""
    ids = torch.tensor([prompt])
    began = time.perf_counter()
    with torch.inference_mode():
        for _ in range(count):
            logits = model(ids, use_cache=False).logits[0, -1]
            ids = torch.cat([ids, logits.argmax().view(1, 1)], dim=1)
    return ids[0, len(prompt) :].tolist(), time.perf_counter() - began
