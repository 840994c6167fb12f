"""Reading the file forms of checkpoints: small random ones, damaged ones and hostile ones."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.text.base import Gelu, GptConfig, TextError
from models.text.containers import bare, read_checkpoint
from models.text.network import shapes
from tests.unit.models.text.goldens import (
    SIZES,
    State,
    write_build_nanogpt,
    write_hugging_face,
    write_nanogpt,
)

CONFIG = GptConfig(n_layer=1, n_head=2, n_embd=8, block_size=16, vocab_size=12)
TINY: dict[str, Any] = {"n_layer": 1, "n_head": 2, "n_embd": 8, "block_size": 16, "vocab_size": 12}
HF_TINY: dict[str, Any] = {
    "n_layer": 1,
    "n_head": 2,
    "n_embd": 8,
    "n_positions": 16,
    "vocab_size": 12,
}


def tiny(prefix: str = "transformer.") -> State:
    source = torch.Generator().manual_seed(1)
    state = {
        prefix + key: torch.randn(shape, generator=source) for key, shape in shapes(CONFIG).items()
    }
    return {**state, "lm_head.weight": state[f"{prefix}wte.weight"]}


def conv1d(state: State) -> State:
    """Linear weights as Hugging Face stores them."""
    turned = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    return {
        key: tensor.t().contiguous() if key.endswith(turned) else tensor.clone()
        for key, tensor in state.items()
    }


def equal(left: State, right: State) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize("prefix", ["", "_orig_mod.", "module._orig_mod."])
def test_nanogpt_files_are_read(tmp_path: Path, prefix: str) -> None:
    file = write_nanogpt(tmp_path / "ckpt.pt", tiny(), prefix=prefix, **TINY)
    read = read_checkpoint(file)
    assert read.config == GptConfig(1, 2, 8, 16, 12, True, Gelu.ERF)
    assert equal(read.state, bare(tiny()))
    assert read.about == {"format": "nanoGPT", "iter_num": 7, "best_val_loss": 3.5}
    assert read.folders == (tmp_path, tmp_path.parent / "data" / "shakespeare_char")


def test_whether_there_is_bias_is_seen_by_the_tensors(tmp_path: Path) -> None:
    state = {key: tensor for key, tensor in tiny().items() if not key.endswith("bias")}
    read = read_checkpoint(write_nanogpt(tmp_path / "ckpt.pt", state, **TINY))
    assert not read.config.bias


def test_a_folder_with_one_file_is_that_file(tmp_path: Path) -> None:
    write_nanogpt(tmp_path / "ckpt.pt", tiny(), **TINY)
    assert read_checkpoint(tmp_path).about["format"] == "nanoGPT"
    write_nanogpt(tmp_path / "ckpt2.pt", tiny(), **TINY)
    with pytest.raises(TextError, match="2 .*name one"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize("module", ["__main__", "model.train_gpt2", "train_gpt2"])
def test_build_nanogpt_files_are_read(tmp_path: Path, module: str) -> None:
    read = read_checkpoint(write_build_nanogpt(tmp_path / "model_00250.pt", tiny(), module))
    assert read.config == GptConfig(**SIZES, vocab_size=50304)
    assert read.about == {"format": "build-nanogpt", "step": 250, "val_loss": 3.25}


def test_its_forks_files_with_random_states_are_read(tmp_path: Path) -> None:
    np.random.seed(1)
    extra = {
        "optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []},
        "rng_state": torch.get_rng_state(),
        "numpy_rng_state": np.random.get_state(),
        "val_loss": np.float64(3.0),
    }
    read = read_checkpoint(write_build_nanogpt(tmp_path / "model.pt", tiny(), extra=extra))
    assert read.about["val_loss"] == 3.0


def test_stored_masks_are_left_out(tmp_path: Path) -> None:
    state = tiny()
    state["transformer.h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
    state["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    read = read_checkpoint(write_nanogpt(tmp_path / "ckpt.pt", state, **TINY))
    assert read.state.keys() == bare(tiny()).keys()


@pytest.mark.parametrize("prefix", ["transformer.", ""])
@pytest.mark.parametrize("form", ["model.safetensors", "pytorch_model.bin", "older"])
def test_hugging_face_folders_are_read(tmp_path: Path, prefix: str, form: str) -> None:
    state = conv1d(tiny(prefix))
    write_hugging_face(tmp_path, state, **HF_TINY)
    if form != "model.safetensors":
        (tmp_path / "model.safetensors").unlink()
        zipped = form == "pytorch_model.bin"
        torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    read = read_checkpoint(tmp_path)
    assert read.config == CONFIG
    assert equal(read.state, bare(tiny()))
    again = read_checkpoint(
        tmp_path / ("model.safetensors" if form[-1] == "s" else "pytorch_model.bin")
    )
    assert equal(again.state, read.state)


def test_hugging_face_models_with_erf_gelu_are_told_apart(tmp_path: Path) -> None:
    write_hugging_face(tmp_path, conv1d(tiny()), activation_function="gelu", **HF_TINY)
    assert read_checkpoint(tmp_path).config.gelu is Gelu.ERF


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model_type": "llama"}, "'llama', not 'gpt2'"),
        ({"activation_function": "relu"}, "'relu'; it can be gelu_new"),
        ({"layer_norm_epsilon": 1e-6}, "1e-06"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn"),
    ],
)
def test_other_architectures_of_hugging_face_are_refused(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    write_hugging_face(tmp_path, conv1d(tiny()), **{**HF_TINY, **changes})
    with pytest.raises(TextError, match=words):
        read_checkpoint(tmp_path)


def test_a_damaged_config_is_refused(tmp_path: Path) -> None:
    write_hugging_face(tmp_path, conv1d(tiny()), **HF_TINY)
    config = tmp_path / "config.json"
    settings = json.loads(config.read_text())
    del settings["n_head"]
    for text, words in ((json.dumps(settings), "'n_head'"), ("[]", "object"), ("{", "config.json")):
        config.write_text(text)
        with pytest.raises(TextError, match=words):
            read_checkpoint(tmp_path)
    config.unlink()
    with pytest.raises(TextError, match="config.json cannot be read"):
        read_checkpoint(tmp_path)


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_holds_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "ran"
    file = tmp_path / "ckpt.pt"
    torch.save({"model": Evil(mark)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(TextError, match="holds code .*, which is not run") as caught:
        read_checkpoint(file)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


def test_a_plain_pickle_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "ckpt.pt"
    file.write_bytes(pickle.dumps({"model": Evil(tmp_path / "ran")}))
    with pytest.raises(TextError):
        read_checkpoint(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_cut_off_files_are_refused_in_one_line(tmp_path: Path, share: float) -> None:
    write_hugging_face(tmp_path, conv1d(tiny()), **HF_TINY)
    files = [write_nanogpt(tmp_path / "ckpt.pt", tiny(), **TINY), tmp_path / "model.safetensors"]
    for file in files:
        whole = file.read_bytes()
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(TextError, match="damaged") as caught:
            read_checkpoint(file)
        assert "\n" not in str(caught.value)


def test_nanochat_is_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "model_000650.pt"
    torch.save({"transformer.h.0.attn.c_q.weight": torch.zeros(2, 2)}, file)
    with pytest.raises(TextError, match="nanochat"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ([1], "a list"),
        ({"weights": {}}, 'no "model"'),
        ({"model": {}}, 'neither "model_args"'),
        ({"model": {"a": 1}}, "'a' is not a named tensor"),
        ({"model": {}, "model_args": 3}, "configuration is a int"),
        ({"model": {}, "model_args": {"n_layer": 1}}, "lacks 'n_head'"),
    ],
)
def test_other_files_of_pytorch_are_refused(tmp_path: Path, content: Any, words: str) -> None:
    file = tmp_path / "some.pt"
    torch.save(content, file)
    with pytest.raises(TextError, match=words):
        read_checkpoint(file)


def test_tensors_must_be_a_mapping() -> None:
    with pytest.raises(TextError, match="a list"):
        bare([])


def test_a_missing_path_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="there is no checkpoint"):
        read_checkpoint(tmp_path / "ckpt.pt")
    with pytest.raises(TextError, match="in the folder"):
        read_checkpoint(tmp_path)
