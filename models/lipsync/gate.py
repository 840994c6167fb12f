"""Which precision a network may run at: the fastest that keeps its pictures, compared at load.

What it is not: the policy that allows less than float32 at all (runtime/precision.py), or a timing:
what is fast is known of the device, so that every start on it chooses the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.lipsync.buckets import Network
from runtime import precision

LEAST_PSNR_DB = 40.0


@dataclass(frozen=True, eq=False)
class Chosen:
    """A network, its precision, and its PSNR against float32 (infinite for float32 itself)."""

    network: Network
    dtype: torch.dtype
    psnr_db: float


def fast(device: str) -> tuple[torch.dtype, ...]:
    """Precisions faster than float32 on this device, the most exact first."""
    if not precision.current().amp:
        return ()
    if device == "cuda":
        return (torch.float16, torch.bfloat16)
    able = torch.cpu.get_capabilities()
    return (torch.bfloat16,) if able.get("avx512_bf16") or able.get("amx_bf16") else ()


def psnr_db(made: Tensor, reference: Tensor, peak: float = 1.0) -> float:
    """Peak signal-to-noise ratio of values in 0..`peak`; infinite for equal ones."""
    error = float((made.double() - reference.double()).square().mean())
    if error == 0.0:
        return float("inf")
    return float(10 * torch.log10(torch.tensor(peak**2 / error, dtype=torch.float64)))


def choose(
    make: Callable[[torch.dtype], Network],
    device: str,
    inputs: Sequence[Tensor],
    candidates: Sequence[torch.dtype] | None = None,
) -> Chosen:
    """The first of `candidates` (default: `fast(device)`) within LEAST_PSNR_DB of float32 on
    `inputs`, else float32. `make` gives the network at a precision; its results lie in 0..1.
    """
    exact = make(torch.float32)
    with torch.inference_mode():
        placed = [tensor.to(device) for tensor in inputs]
        reference = exact(*placed)
        for dtype in fast(device) if candidates is None else candidates:
            network = make(dtype)
            near_db = psnr_db(network(*placed), reference)
            if near_db >= LEAST_PSNR_DB:  # never true of NaN
                return Chosen(network, dtype, round(near_db, 1))
    return Chosen(exact, torch.float32, float("inf"))
