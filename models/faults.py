"""Faults of a device, told apart by their type's name and text: out of memory, a dead context, or
a plain error.

What it is not: a wrapper of torch. Nothing is imported here that is not already loaded.
"""

from __future__ import annotations

import re
import sys
import traceback
from enum import Enum


class Fault(Enum):
    """What an exception means for the device."""

    MEMORY = "memory"
    DEAD = "dead"
    PLAIN = "plain"


# Texts of torch 2.13, ONNX Runtime 1.31, cuBLAS, cuDNN and OpenCV 4.14.
_MEMORY = re.compile(
    r"CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY|CUDA failure 2\b|cudaErrorMemoryAllocation"
    r"|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED"
    r"|Failed to allocate memory for requested buffer|AllocateRawInternal|bad_alloc|bad allocation"
    r"|DefaultCPUAllocator: can't allocate memory|Insufficient memory"
)
# A context that has seen one of these fails every later call; only a new process helps.
_DEAD = re.compile(
    r"device-side assert|illegal memory access|unspecified launch failure|misaligned address"
    r"|CUDA failure (700|710|716|719|999)\b|an illegal instruction was encountered"
    r"|hardware stack error|uncorrectable ECC error|device is lost|fallen off the bus"
)


def classify(error: BaseException) -> Fault:
    """What `error` means."""
    text = str(error)
    if _DEAD.search(text):
        return Fault.DEAD
    names = {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, MemoryError) or "OutOfMemoryError" in names or _MEMORY.search(text):
        return Fault.MEMORY
    return Fault.PLAIN


def forget(error: Exception) -> Exception:
    """The same error without its frames: those hold the tensors that must be freed."""
    traceback.clear_frames(error.__traceback__)
    error.__context__ = None
    return error.with_traceback(None)


def free_device_memory() -> None:
    """Give torch's cached device memory back, where torch is loaded and uses CUDA."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
