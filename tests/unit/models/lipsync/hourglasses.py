"""Wav2Lip with stand-in weights, made once per process."""

from __future__ import annotations

import functools

import numpy as np
import torch
from numpy.typing import NDArray

from models.lipsync.fused import Fused
from models.lipsync.wav2lip import Wav2Lip
from tests.data import wav2lip
from tests.data.weights import noise

SEED = 5


def sound(index: int) -> NDArray[np.float32]:
    """A feature: loud noise like nothing that was ever said."""
    loud: NDArray[np.float32] = np.clip(2.5 * noise(f"mel {index}", (80, 16), SEED), -4, 4)
    return loud


FEATURES = [np.full((80, 16), -4, np.float32), sound(1), sound(2)]


@functools.cache
def state() -> dict[str, torch.Tensor]:
    """The weights under their published names."""
    return wav2lip.state(SEED)


@functools.cache
def fused(dtype: torch.dtype = torch.float32) -> Fused:
    return Fused(state(), "cpu", dtype)


@functools.cache
def backend() -> Wav2Lip:
    return Wav2Lip("wav2lip", fused(), "cpu")
