"""How fast MuseTalk's networks run: stand-in weights at full size, by batch and by way of running.

    python -m benchmarks.musetalk [--device cuda] [--batches 8,16,32] [--ways eager,graphs,compiled]

Prints a table and, last, one line of JSON: frames per second of the UNet and the decoder together,
the time to get ready, and the share of the matrix multiplications' measured ceiling (800 GFLOP a
frame: facts of the published networks). What it is not: a measure of pictures; weights are noise.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from models.lipsync.muse import unet, vae
from models.lipsync.muse.chain import LATENT_PX, SOUND_ROWS, Chain, Precision, Published
from models.lipsync.muse.shape import UNetShape, VaeShape

FRAME_FLOP = (177.8 + 622.2) * 1e9
"""UNet and decoder, a multiplication and an addition counted as two."""
SIDE = 8192
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


class Noise(Mapping[str, Tensor]):
    """Stand-in tensors of an inventory, each made when it is asked for."""

    def __init__(self, inventory: dict[str, tuple[int, ...]]) -> None:
        self._inventory = inventory

    def __getitem__(self, key: str) -> Tensor:
        shape = self._inventory[key]
        if len(shape) == 1:
            return torch.full(shape, 1.0 if key.endswith("weight") else 0.0)
        return torch.randn(shape) / float(np.sqrt(np.prod(shape[1:])))

    def __iter__(self) -> Iterator[str]:
        return iter(self._inventory)

    def __len__(self) -> int:
        return len(self._inventory)


def main() -> None:
    """Measure and print."""
    given = _arguments()
    torch.manual_seed(1)
    networks = Published(Noise(unet.inventory(UNetShape())), Noise(vae.inventory(VaeShape())))
    began = time.perf_counter()
    dtype = DTYPES[given.dtype]
    chain = Chain(networks, given.device, Precision(dtype, dtype))
    loaded_s = time.perf_counter() - began
    ceiling = _ceiling_flops(given.device, dtype)
    print(f"loaded in {loaded_s:.1f} s; ceiling {ceiling / 1e12:.1f} TFLOP/s")
    print(f"{'way':10} {'batch':>5} {'frames/s':>9} {'of ceiling':>10} {'ready s':>8}")
    rows = []
    for way in given.ways.split(","):
        ready_s = _prepare(chain, way)
        for batch in map(int, given.batches.split(",")):
            rate = _frames_per_s(chain, batch, given.seconds)
            share = rate * FRAME_FLOP / ceiling
            rows.append({"way": way, "batch": batch, "frames_per_s": round(rate, 3)})
            rows[-1] |= {"share": round(share, 3), "ready_s": round(ready_s, 1)}
            print(f"{way:10} {batch:5} {rate:9.2f} {share:10.1%} {ready_s:8.1f}")
    memory = torch.cuda.max_memory_allocated() if given.device == "cuda" else 0
    whole = {"dtype": given.dtype, "device": given.device, "ceiling_tflops": ceiling / 1e12}
    print(json.dumps({**whole, "loaded_s": loaded_s, "gpu_bytes": memory, "rows": rows}))


def _prepare(chain: Chain, way: str) -> float:
    began = time.perf_counter()
    if way == "graphs":
        chain.record()
    elif way == "compiled":
        chain.compile()
    elif way != "eager":
        raise SystemExit(f"--ways {way!r}: eager, graphs and compiled can be measured")
    return time.perf_counter() - began


def _frames_per_s(chain: Chain, batch: int, seconds: float) -> float:
    """The median of calls over some seconds; the first two do not count."""
    latents = np.random.default_rng(1).standard_normal((batch, 8, LATENT_PX, LATENT_PX))
    sound = np.random.default_rng(2).standard_normal((batch, SOUND_ROWS, 384)).astype(np.float32)
    given = latents.astype(np.float16)
    times: list[float] = []
    while len(times) < 4 or sum(times) < seconds:
        began = time.perf_counter()
        chain.speak(given, sound).cpu()
        times.append(time.perf_counter() - began)
    return batch / float(np.median(times[2:]))


def _ceiling_flops(device: str, dtype: torch.dtype) -> float:
    """The best of some multiplications of square matrices."""
    side = SIDE if device == "cuda" else SIDE // 4
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    best = 0.0
    for _ in range(8):
        _wait(device)
        began = time.perf_counter()
        for _ in range(4):
            left @ right
        _wait(device)
        best = max(best, 4 * 2 * side**3 / (time.perf_counter() - began))
    return best


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="MuseTalk's networks, measured")
    default = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=default, choices=("cpu", "cuda"))
    parser.add_argument("--dtype", default="bf16", choices=sorted(DTYPES))
    parser.add_argument("--batches", default="8,16,32")
    parser.add_argument("--ways", default="eager,graphs,compiled")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    return parser.parse_args()


if __name__ == "__main__":
    main()
