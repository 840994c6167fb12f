"""Published checkpoint forms against the outputs of their own code, stored in ../shared/golden."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from models.text.base import Gelu, Network, Precision
from models.text.checkpoints import load_checkpoint
from tests.unit.models.text.goldens import (
    RANKS,
    numbers,
    weights,
    write_build_nanogpt,
    write_hugging_face,
    write_nanogpt,
)

CLOSE = 5e-5


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads cost more than they give on such small sizes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def greedy(network: Network, prompt: list[int], count: int) -> list[int]:
    """Slides by reading the last block again, as nanoGPT does."""
    block = network.config.block_size
    ids = list(prompt)
    logits = network.prefill(0, ids[-block:], 0)
    for _ in range(count):
        ids.append(int(logits.argmax()))
        if len(ids) <= block:
            logits = network.decode([0], [ids[-1]], [len(ids) - 1])[0]
        else:
            logits = network.prefill(0, ids[-block:], 0)
    return ids[len(prompt) :]


def load(path: Path, precision: Precision = Precision.FP32) -> Network:
    return load_checkpoint(path, 2, precision, tokenizer_path=RANKS).network


def check(network: Network, stored: dict[str, npt.NDArray[Any]], end: str = "") -> None:
    """Whole, in chunks and token by token: the same logits and tokens."""
    prompt = stored["prompt"].tolist()
    last, first = stored[f"logits_last{end}"][:50257], stored[f"logits_first512_ids{end}"]
    every = network.prefill(0, prompt, 0, every=True)
    assert every.dtype == torch.float32
    assert torch.isneginf(every[:, 50257:]).all()
    assert np.abs(every[-1, :50257].numpy() - last).max() < CLOSE
    assert np.abs(every[:, :512].numpy() - first).max() < CLOSE
    assert every.argmax(-1).tolist() == stored[f"argmax_every_position{end}"].tolist()
    network.prefill(1, prompt[:5], 0)
    chunked = network.prefill(1, prompt[5:], 5)
    assert np.abs(chunked[:50257].numpy() - last).max() < CLOSE
    for place, token in enumerate(prompt):
        stepped = network.decode([1], [token], [place])
        assert np.abs(stepped[0, :512].numpy() - first[place]).max() < CLOSE
    assert greedy(network, prompt, 32) == stored[f"greedy{end}"].tolist()


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
def test_nanogpt_gives_its_own_numbers(tmp_path: Path, prefix: str) -> None:
    state = weights("nanogpt_small", 5)
    network = load(write_nanogpt(tmp_path / "ckpt.pt", state, prefix=prefix))
    assert network.config.gelu is Gelu.ERF
    stored = numbers("nanogpt")
    check(network, stored)
    assert greedy(network, stored["long_prompt"].tolist(), 32) == stored["greedy_long"].tolist()


def test_nanogpt_without_bias_gives_its_own_numbers(tmp_path: Path) -> None:
    state = weights("nanogpt_small_nobias", 5)
    network = load(write_nanogpt(tmp_path / "ckpt.pt", state, bias=False))
    assert not network.config.bias
    check(network, numbers("nanogpt"), "_nobias")


@pytest.mark.parametrize("module", ["__main__", "model.train_gpt2"])
def test_build_nanogpt_gives_its_own_numbers(tmp_path: Path, module: str) -> None:
    state = weights("build_nanogpt_small", 7)
    network = load(write_build_nanogpt(tmp_path / "model_00250.pt", state, module))
    assert network.config.gelu is Gelu.TANH
    check(network, numbers("build_nanogpt"))


def test_hugging_face_gives_its_own_numbers(tmp_path: Path) -> None:
    state = weights("hf_gpt2_small", 6)
    check(load(write_hugging_face(tmp_path / "gpt2", state)), numbers("hf_gpt2"))


def test_the_published_gpt2_layout_gives_the_same_numbers(tmp_path: Path) -> None:
    state = weights("hf_gpt2_small_bare", 6)
    folder = write_hugging_face(tmp_path / "gpt2", state)
    (folder / "model.safetensors").unlink()
    state["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    shutil.copy(RANKS, folder)
    network = load_checkpoint(folder, 1, Precision.FP32).network
    prompt = numbers("hf_gpt2")["prompt"].tolist()
    assert greedy(network, prompt, 32) == numbers("hf_gpt2")["greedy"].tolist()


@pytest.mark.parametrize(("precision", "far"), [(Precision.BF16, 0.05), (Precision.INT8, 0.12)])
def test_lower_precisions_stay_near(tmp_path: Path, precision: Precision, far: float) -> None:
    state = weights("nanogpt_small", 5)
    network = load(write_nanogpt(tmp_path / "ckpt.pt", state), precision)
    stored = numbers("nanogpt")
    every = network.prefill(0, stored["prompt"].tolist(), 0, every=True)
    apart = np.abs(every[-1, :50257].numpy() - stored["logits_last"][:50257])
    assert 0 < apart.max() < far
