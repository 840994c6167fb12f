"""The trained network as a Hugging Face GPT-2 directory: config.json and model.safetensors.

What it is not: the tokenizer's files (bpe.py). Weights are rounded to float16; GPT-2's linear
layers are stored [in, out], so they are transposed here.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from scripts.story.net import StoryNet

_NAMES = {"qkv": "attn.c_attn", "mix": "attn.c_proj", "up": "mlp.c_fc", "down": "mlp.c_proj"}


def tensors(net: StoryNet) -> dict[str, Tensor]:
    """The weights by Hugging Face's names, in float16; the head is tied, so it is left out."""
    found = {}
    for name, weight in net.state_dict().items():
        parts = name.replace("blocks.", "h.").split(".")
        layer = parts[-2]
        if layer in _NAMES:
            parts[-2] = _NAMES[layer]
            weight = weight.t() if weight.dim() == 2 else weight
        found["transformer." + ".".join(parts)] = weight.to(torch.float16).contiguous()
    return found


def save(net: StoryNet, folder: Path) -> None:
    """Write both files; the same weights give the same bytes."""
    shape = net.shape
    config = {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "n_layer": shape.n_layer,
        "n_head": shape.n_head,
        "n_embd": shape.n_embd,
        "n_positions": shape.block_size,
        "n_ctx": shape.block_size,
        "vocab_size": shape.vocab_size,
        "layer_norm_epsilon": 1e-5,
        "bos_token_id": shape.vocab_size - 1,
        "eos_token_id": shape.vocab_size - 1,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / "config.json").write_text(text, encoding="utf-8")
    weights = folder / "model.safetensors"
    save_file(tensors(net), weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # it is written for its owner alone


def restore(net: StoryNet, found: dict[str, Tensor]) -> None:
    """Put saved weights back into a network of the same shape."""
    state = {}
    for name, like in net.state_dict().items():
        parts = name.replace("blocks.", "h.").split(".")
        linear = parts[-2] in _NAMES
        parts[-2] = _NAMES.get(parts[-2], parts[-2])
        weight = found["transformer." + ".".join(parts)].to(like.dtype)
        state[name] = weight.t() if linear and weight.dim() == 2 else weight
    net.load_state_dict(state)
