"""Checkpoints with the stand-in weights of ../shared/golden, written in the published forms."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors.torch import save_file

SHARED = Path(__file__).resolve().parents[4].parent / "shared"
GOLDEN = SHARED / "golden"
RANKS = SHARED / "weights" / "gpt2.tiktoken"
SIZES: dict[str, Any] = {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 128}

State = dict[str, torch.Tensor]


def weights(inventory: str, seed: int) -> State:
    """The stand-in weights of an inventory."""
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden files: {GOLDEN} is absent")
    return dict(_weights(inventory, seed))


@functools.cache
def _weights(inventory: str, seed: int) -> State:
    module = _load(GOLDEN / "weights.py")
    entries = module.load_inventory(GOLDEN / "inventories" / f"{inventory}.tsv")
    made = cast("dict[str, npt.NDArray[np.generic]]", module.state_dict(entries, seed))
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in made.items()}


def numbers(name: str) -> dict[str, npt.NDArray[Any]]:
    """The stored inputs and outputs."""
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return dict(stored)


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_weights", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_nanogpt(file: Path, state: State, *, prefix: str = "", **args: Any) -> Path:
    """As nanoGPT's train.py saves it."""
    whole = {
        "model": {prefix + key: tensor for key, tensor in state.items()},
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.95)}]},
        "model_args": {**SIZES, "vocab_size": 50304, "bias": True, "dropout": 0.0, **args},
        "iter_num": 7,
        "best_val_loss": torch.tensor(3.5),
        "config": {"dataset": "shakespeare_char", "compile": True},
    }
    torch.save(whole, file)
    return file


@dataclasses.dataclass
class GPTConfig:
    """What build-nanogpt's script pickles."""

    block_size: int = 1024
    vocab_size: int = 50257
    n_layer: int = 12
    n_head: int = 12
    n_embd: int = 768


def write_build_nanogpt(
    file: Path, state: State, module: str = "__main__", extra: dict[str, Any] | None = None
) -> Path:
    """As build-nanogpt saves it: the configuration is a pickled class of `module`."""
    owner = sys.modules.get(module) or ModuleType(module)
    parents = [module[:n] for n, letter in enumerate(module) if letter == "."]
    added = [name for name in (*parents, module) if name not in sys.modules]
    before = GPTConfig.__module__
    try:
        for name in added:
            sys.modules[name] = owner if name == module else ModuleType(name)
        GPTConfig.__module__ = module
        owner.GPTConfig = GPTConfig  # type: ignore[attr-defined]
        config = GPTConfig(**SIZES, vocab_size=50304)
        whole = {"model": state, "config": config, "step": 250, "val_loss": 3.25, **(extra or {})}
        torch.save(whole, file)
    finally:
        GPTConfig.__module__ = before
        del owner.GPTConfig
        for name in added:
            del sys.modules[name]
    return file


def write_hugging_face(folder: Path, state: State, **changes: Any) -> Path:
    """As save_pretrained writes it."""
    folder.mkdir(exist_ok=True)
    settings = {
        "model_type": "gpt2",
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "n_positions": 128,
        "n_layer": 4,
        "n_head": 4,
        "n_embd": 128,
        "vocab_size": 50257,
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    save_file(state, folder / "model.safetensors")
    return folder
