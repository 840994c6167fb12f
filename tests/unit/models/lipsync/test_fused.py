"""The fast network against the published one's numbers, at every precision and batch size."""

from __future__ import annotations

import functools

import pytest
import torch
from torch import Tensor

from models.lipsync import fused, gate
from models.lipsync.fused import Fused
from models.lipsync.wav2lip import masked
from tests.data import wav2lip
from tests.unit.models.lipsync import hourglasses
from tests.unit.models.lipsync.goldens import SMALL, numbers, weights

FAST = "no precision below float32 is fast on this CPU"


@functools.cache
def golden() -> dict[str, Tensor]:
    state = weights("wav2lip_generator", 1)
    return {key.removeprefix("module."): value for key, value in state.items()}


def run(network: Fused, mel: Tensor, faces: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(mel, faces)


@functools.cache
def inputs(rows: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    mel = torch.randn(rows, 1, 80, 16, generator=generator)
    return 2 * mel, torch.rand(rows, 6, 96, 96, generator=generator)


@pytest.mark.parametrize("packed", [True, False])
def test_the_golden_picture(packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = numbers("wav2lip_generator")
    monkeypatch.setattr(fused, "has_packed", lambda: packed)
    network = Fused(golden(), "cpu", torch.float32)
    made = run(network, torch.from_numpy(stored["mel"]), torch.from_numpy(stored["faces"]))
    assert abs(made.numpy() - stored["output"]).max() < 2e-5


def test_the_stored_picture() -> None:
    stored = numbers("wav2lip_generator", SMALL)
    network = Fused(wav2lip.state(), "cpu", torch.float32)
    faces = masked(torch.from_numpy(stored["faces"]))
    made = run(network, torch.from_numpy(stored["mel"]), faces)
    assert abs(made.numpy() - stored["output"]).max() < 2e-5


def test_this_build_of_torch_has_the_calls_of_one_dnn() -> None:
    assert fused.has_packed()


def test_plain_calls_and_those_of_one_dnn_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "has_packed", lambda: False)
    plain = Fused(hourglasses.state(), "cpu", torch.float32)
    apart = run(plain, *inputs()) - run(hourglasses.fused(), *inputs())
    assert apart.abs().max() < 2e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_picture_is_the_same_bits_in_a_batch_of_any_size(dtype: torch.dtype) -> None:
    if dtype != torch.float32 and dtype not in gate.fast("cpu"):
        pytest.skip(FAST)
    network = hourglasses.fused(dtype)
    mel, faces = inputs()
    whole = run(network, mel, faces)
    for rows in (1, 2, 3):
        assert torch.equal(run(network, mel[:rows], faces[:rows]), whole[:rows])


def test_reduced_precision_keeps_forty_decibels() -> None:
    if not gate.fast("cpu"):
        pytest.skip(FAST)
    reference = run(hourglasses.fused(), *inputs())
    made = run(hourglasses.fused(gate.fast("cpu")[0]), *inputs())
    assert 40 <= gate.psnr_db(made, reference) < 90
