"""A small nanoGPT run for tests on real servers: random weights, a tokenizer of characters."""

from __future__ import annotations

import pickle
import string
from pathlib import Path

import torch

CHARACTERS = "\n" + string.ascii_letters + string.digits + " .,:!?'-\u00e9"
LAYERS, WIDTH, BLOCK = 4, 128, 256


def make_run(folder: Path, seed: int = 1, layers: int = LAYERS, width: int = WIDTH) -> Path:
    """`ckpt.pt` and `meta.pkl` in `folder`, as nanoGPT's train.py and prepare.py write them."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ckpt.pt"
    torch.save(
        {
            "model": _weights(seed, layers, width),
            "model_args": {
                "n_layer": layers,
                "n_head": 4,
                "n_embd": width,
                "block_size": BLOCK,
                "bias": False,
                "vocab_size": len(CHARACTERS),
                "dropout": 0.0,
            },
            "iter_num": 1,
            "best_val_loss": torch.tensor(1.0),
            "config": {"dataset": "tests"},
        },
        path,
    )
    ids = {char: number for number, char in enumerate(CHARACTERS)}
    meta = {
        "vocab_size": len(CHARACTERS),
        "stoi": ids,
        "itos": {number: char for char, number in ids.items()},
    }
    (folder / "meta.pkl").write_bytes(pickle.dumps(meta))
    return path


def _weights(seed: int, layers: int, width: int) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random) * 0.08

    table = normal(len(CHARACTERS), width)
    state = {
        "transformer.wte.weight": table,
        "transformer.wpe.weight": normal(BLOCK, width),
        "transformer.ln_f.weight": torch.ones(width),
        "lm_head.weight": table,
    }
    for layer in range(layers):
        block = f"transformer.h.{layer}"
        state[f"{block}.ln_1.weight"] = torch.ones(width)
        state[f"{block}.ln_2.weight"] = torch.ones(width)
        state[f"{block}.attn.c_attn.weight"] = normal(3 * width, width)
        state[f"{block}.attn.c_proj.weight"] = normal(width, width)
        state[f"{block}.mlp.c_fc.weight"] = normal(4 * width, width)
        state[f"{block}.mlp.c_proj.weight"] = normal(width, 4 * width)
    return state
