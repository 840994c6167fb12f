"""What ../shared/golden and tests/data hold of Wav2Lip; tests skip where the first is absent."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[4]
SHARED = ROOT.parent / "shared"
GOLDEN = SHARED / "golden"
SMALL = ROOT / "tests" / "data"


def numbers(name: str, folder: Path = GOLDEN) -> dict[str, NDArray[Any]]:
    """The arrays of one file."""
    path = folder / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"no golden file: {path} is absent")
    with np.load(path) as stored:
        return dict(stored)


def weights(inventory: str, seed: int) -> dict[str, torch.Tensor]:
    """The golden folder's own stand-in weights."""
    if not GOLDEN.is_dir():
        pytest.skip(f"no golden files: {GOLDEN} is absent")
    spec = importlib.util.spec_from_file_location("golden_weights", GOLDEN / "weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["golden_weights"] = module
    spec.loader.exec_module(module)
    entries = module.load_inventory(GOLDEN / "inventories" / f"{inventory}.tsv")
    made = module.state_dict(entries, seed)
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in made.items()}
