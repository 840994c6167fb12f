"""Faults told apart by their text and type."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from models.faults import Fault, classify, forget, free_device_memory


class OutOfMemoryError(RuntimeError):
    """torch's has this name."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("anything"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("BFCArena::AllocateRawInternal(size_t, bool) Failed to allocate memory"),
        RuntimeError("CUDA failure 2: out of memory ; GPU=0"),
        RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
        RuntimeError("OpenCV(4.14.0) error: (-4:Insufficient memory) Failed to allocate"),
    ],
)
def test_errors_of_memory_are_known(error: Exception) -> None:
    assert classify(error) is Fault.MEMORY


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: device-side assert triggered",
        "CUDA error: an illegal memory access was encountered",
        "CUDA failure 700: an illegal memory access",
        "CUDA failure 719: unspecified launch failure",
    ],
)
def test_errors_after_which_the_context_is_dead_are_known(text: str) -> None:
    assert classify(RuntimeError(text)) is Fault.DEAD


def test_other_errors_are_plain() -> None:
    assert classify(ValueError("shapes differ")) is Fault.PLAIN
    assert classify(RuntimeError("CUDA failure 201: invalid context")) is Fault.PLAIN


def test_forgetting_an_error_lets_go_of_what_its_frames_held() -> None:
    class Big:
        gone = False

        def __del__(self) -> None:
            Big.gone = True

    def fail() -> None:
        big = Big()
        raise MemoryError(str(big is None))

    try:
        fail()
    except MemoryError as error:
        kept = forget(error)
    assert Big.gone
    assert kept.__traceback__ is None


def test_freeing_memory_imports_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    free_device_memory()
    assert "torch" not in sys.modules


@pytest.mark.parametrize(("used", "calls"), [(True, 1), (False, 0)])
def test_torch_s_cache_is_emptied_only_where_cuda_is_in_use(
    monkeypatch: pytest.MonkeyPatch, used: bool, calls: int
) -> None:
    emptied: list[int] = []
    cuda = SimpleNamespace(is_initialized=lambda: used, empty_cache=lambda: emptied.append(1))
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    free_device_memory()
    assert len(emptied) == calls
