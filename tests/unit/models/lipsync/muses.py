"""MuseTalk with small stand-in networks, made once per process."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.lipsync.muse.chain import Chain, Precision
from models.lipsync.musetalk import V1, V15, MuseTalk
from tests.data import musetalk
from tests.data.weights import noise

SHARED = Path(__file__).resolve().parents[4].parent / "shared"
GOLDEN = SHARED / "golden"


def sound(index: int) -> NDArray[np.float32]:
    """A feature: loud noise."""
    return 3 * noise(f"sound {index}", (50, musetalk.UNET.sound), 3)


FEATURES = [np.zeros((50, musetalk.UNET.sound), np.float32), sound(1), sound(2)]


@functools.cache
def chain() -> Chain:
    return Chain(musetalk.published(), "cpu", Precision())


@functools.cache
def backend() -> MuseTalk:
    return MuseTalk(V15, chain())


@functools.cache
def backend_v1() -> MuseTalk:
    return MuseTalk(V1, chain())


class Golden(Mapping[str, torch.Tensor]):
    """Published tensors with the stand-in numbers of ../shared/golden, made when asked for: 850
    million of them at once would take twice the network's memory.
    """

    def __init__(self, inventory: str, seed: int) -> None:
        if not GOLDEN.is_dir():
            pytest.skip(f"no golden files: {GOLDEN} is absent")
        self._make = _weights(GOLDEN / "weights.py")
        entries = self._make.load_inventory(GOLDEN / "inventories" / f"{inventory}.tsv")
        self._entries = {key: (shape, dtype) for key, shape, dtype in entries}
        self._seed = seed

    def __getitem__(self, key: str) -> torch.Tensor:
        shape, dtype = self._entries[key]
        return torch.from_numpy(
            np.ascontiguousarray(self._make.tensor(key, shape, dtype, self._seed))
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {key: shape for key, (shape, _) in self._entries.items()}


def golden(name: str) -> dict[str, NDArray[Any]]:
    """The stored inputs and outputs of a golden; skips without them."""
    file = GOLDEN / f"{name}.npz"
    if not file.is_file():
        pytest.skip(f"no golden files: {file} is absent")
    with np.load(file, allow_pickle=False) as stored:
        return dict(stored)


def apart(left: Any, right: Any) -> float:
    """The largest difference of two arrays."""
    return float(np.abs(np.asarray(left, np.float64) - np.asarray(right, np.float64)).max())


@functools.cache
def _weights(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_weights_of_muse", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
