"""The precision that models of this process may use: set once at boot, asked by their loaders.

What it is not: the choice of a model, which knows what its numbers bear. Imports nothing heavy.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """`amp`: reduced precision (bf16, fp16, TF32) is allowed where a model keeps its accuracy;
    without it everything is float32. `cudnn_benchmark`: cuDNN may time its kernels at the first
    call of each shape.
    """

    amp: bool = True
    cudnn_benchmark: bool = True


_policy = Policy()


def current() -> Policy:
    """The policy in force."""
    return _policy


def set_policy(policy: Policy) -> None:
    """Put a policy into force; for models that are loaded after it."""
    global _policy
    _policy = policy
