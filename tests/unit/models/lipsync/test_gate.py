"""The choice of precision, with stand-ins for the network."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from models.lipsync.buckets import Network
from models.lipsync.gate import choose, fast, psnr_db
from runtime import precision

PICTURE = torch.full((2, 3, 8, 8), 0.5)
LOW = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize(
    ("half", "brain", "chosen"),
    [
        (0.009, 0.0, torch.float16),
        (0.011, 0.009, torch.bfloat16),
        (0.011, 0.011, torch.float32),
        (math.nan, math.inf, torch.float32),
    ],
)
def test_the_first_within_forty_decibels_is_taken(
    half: float, brain: float, chosen: torch.dtype
) -> None:
    errors = {torch.float32: 0.0, torch.float16: half, torch.bfloat16: brain}

    def make(dtype: torch.dtype) -> Network:
        return lambda picture: picture + errors[dtype]

    found = choose(make, "cpu", [PICTURE], LOW)
    assert found.dtype == chosen
    assert found.psnr_db >= 40
    assert torch.equal(found.network(PICTURE), PICTURE + errors[chosen])


def test_float32_alone_when_nothing_else_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_policy", precision.Policy(amp=False))
    assert fast("cpu") == fast("cuda") == ()
    found = choose(lambda dtype: lambda picture: picture, "cpu", [PICTURE])
    assert (found.dtype, found.psnr_db) == (torch.float32, math.inf)


def test_a_gpu_has_two_faster_precisions_and_a_cpu_what_its_instructions_say() -> None:
    assert fast("cuda") == LOW
    able = torch.cpu.get_capabilities()
    known = able.get("avx512_bf16", False) or able.get("amx_bf16", False)
    assert fast("cpu") == ((torch.bfloat16,) if known else ())


def test_psnr_by_its_definition() -> None:
    reference: Tensor = torch.zeros(10)
    assert psnr_db(reference, reference) == math.inf
    assert psnr_db(reference + 0.01, reference) == pytest.approx(40)
    assert psnr_db(reference + 2.55, reference, 255) == pytest.approx(40)
