"""From a path to a model that runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models.text.base import Precision, TextError
from models.text.checkpoints import load_checkpoint, name_of
from tests.unit.models.text.goldens import write_hugging_face, write_nanogpt
from tests.unit.models.text.test_containers import HF_TINY, TINY, conv1d, tiny
from tests.unit.models.text.test_tokenizer import write_meta, write_ranks

STOI = {letter: number for number, letter in enumerate("abcdefghij")}


def test_a_character_level_checkpoint_runs_with_what_lies_beside_it(tmp_path: Path) -> None:
    file = write_nanogpt(tmp_path / "ckpt.pt", tiny(), **TINY)
    write_meta(tmp_path / "meta.pkl", STOI)
    model = load_checkpoint(file, 2, Precision.FP32)
    logits = model.network.prefill(0, model.tokenizer.encode("badge"), 0)
    assert logits.shape == (12,)
    assert 0 <= int(logits.argmax()) < 10
    assert model.name == tmp_path.name
    assert model.created_at == file.stat().st_mtime
    assert model.about == {
        "format": "nanoGPT",
        "iter_num": 7,
        "best_val_loss": 3.5,
        "parameters": sum(t.numel() for k, t in tiny().items() if k != "lm_head.weight"),
        "block_size": 16,
        "precision": "fp32",
    }


def test_nanogpts_data_folder_is_searched(tmp_path: Path) -> None:
    out, data = tmp_path / "out", tmp_path / "data" / "shakespeare_char"
    out.mkdir()
    data.mkdir(parents=True)
    write_meta(data / "meta.pkl", STOI)
    model = load_checkpoint(write_nanogpt(out / "ckpt.pt", tiny(), **TINY), 1, Precision.INT8)
    assert model.tokenizer.size == 10
    assert model.network.precision is Precision.INT8


def test_the_model_lives_on_when_its_file_is_gone(tmp_path: Path) -> None:
    folder = write_hugging_face(tmp_path / "mine", conv1d(tiny()), **HF_TINY)
    meta = write_meta(tmp_path / "meta.pkl", STOI)
    model = load_checkpoint(folder, 1, Precision.FP32, tokenizer_path=meta, name="tale")
    before = model.network.prefill(0, [1, 2], 0)
    shutil.rmtree(folder)
    assert model.network.prefill(0, [1, 2], 0).tolist() == before.tolist()
    assert model.name == "tale"


def test_a_checkpoint_without_a_tokenizer_is_refused(tmp_path: Path) -> None:
    file = write_nanogpt(tmp_path / "ckpt.pt", tiny(), **TINY)
    with pytest.raises(TextError, match="ckpt.pt cannot be used: there is no tokenizer in"):
        load_checkpoint(file, 1, Precision.FP32)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    file = write_nanogpt(tmp_path / "ckpt.pt", tiny(), **TINY)
    write_ranks(tmp_path / "gpt2.tiktoken")
    with pytest.raises(TextError, match="262 ids, but the network only 12"):
        load_checkpoint(file, 1, Precision.FP32)


def test_weights_that_do_not_fit_the_configuration_are_refused(tmp_path: Path) -> None:
    file = write_nanogpt(tmp_path / "ckpt.pt", tiny(), **{**TINY, "block_size": 32})
    write_meta(tmp_path / "meta.pkl", STOI)
    with pytest.raises(TextError, match=r"'wpe.weight' has shape \[16, 8\]"):
        load_checkpoint(file, 1, Precision.FP32)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("out/ckpt.pt", "out"),
        ("log/model_19072.pt", "model_19072"),
        ("gpt2/model.safetensors", "gpt2"),
        ("tale.pt", "tale"),
    ],
)
def test_a_name_comes_from_the_file_or_else_its_folder(path: str, name: str) -> None:
    assert name_of(Path(path)) == name


def test_a_folder_is_named_after_itself(tmp_path: Path) -> None:
    assert name_of(tmp_path) == tmp_path.name
