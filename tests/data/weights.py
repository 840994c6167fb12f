"""Stand-in weights of any network from an inventory and a seed: the same bits on every machine.

What it is not: trained weights. Each tensor depends on the seed and its own key alone. Numbers are
whole multiples of 2^-24 times one float32 factor, so no library's rounding can change them.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_UNIT = np.float32(math.sqrt(12.0) / 2**24)
"""Scales a 24-bit integer's distribution to variance 1."""


def noise(key: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """Evenly spread numbers of mean 0 and variance 1: within -1.74 .. 1.74."""
    digest = hashlib.blake2b(f"{key}#{seed}".encode(), digest_size=16).digest()
    raw = np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(math.prod(shape))
    whole = (raw >> np.uint64(40)).astype(np.int32) - 2**23
    return (whole.astype(np.float32) * _UNIT).reshape(shape)


def seeded(
    inventory: Mapping[str, tuple[int, ...]],
    seed: int,
    gain: Callable[[str], float] = lambda key: 1.0,
) -> dict[str, NDArray[Any]]:
    """A tensor for each key and shape, such that signals keep about their size on the way.

    By the key's end: `num_batches_tracked` is an int64 count, `running_var` near 1, `running_mean`
    near 0; of the rest, two and more dimensions are weights of variance gain^2 / (inputs of one
    output, taken as all dimensions but the first), one-dimensional `weight` is near 1, others are
    small. `gain` may raise single weights.
    """
    return {key: _tensor(key, shape, seed, gain) for key, shape in inventory.items()}


def _tensor(
    key: str, shape: tuple[int, ...], seed: int, gain: Callable[[str], float]
) -> NDArray[Any]:
    if key.endswith("num_batches_tracked"):
        return np.array(100, np.int64)
    values = noise(key, shape, seed)
    if len(shape) >= 2:
        return values * np.float32(gain(key) / math.sqrt(math.prod(shape[1:])))
    if key.endswith(("running_var", "weight")):
        return np.float32(1) + np.float32(0.1) * values
    return values * np.float32(0.05)
