"""ONNX Runtime sessions that run where they were asked to, or say so.

What it is not: a model. ONNX Runtime falls back to the CPU in silence when the CUDA provider cannot
load; its list of available providers says only what was compiled in.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnxruntime

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
_in_use: set[str] = set()


class ProviderError(RuntimeError):
    """A model was asked to run on a device and would run elsewhere."""


def open_session(path: Path, device: str, threads: int = 1) -> onnxruntime.InferenceSession:
    """A session on `device` ("cpu" or "cuda"), with `threads` CPU threads.

    Raises:
        ProviderError: "cuda" was asked and the session does not run there.
        FileNotFoundError: there is no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no ONNX file at {path}")
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=_wanted(onnxruntime, device)
    )
    session.disable_fallback()
    check_providers(path, device, session.get_providers())
    return session


def check_providers(path: Path, device: str, got: list[str]) -> None:
    """Compare what a session runs on with what was asked, and note it.

    Raises:
        ProviderError: "cuda" was asked and is not among `got`.
    """
    if device == "cuda" and CUDA not in got:
        raise ProviderError(
            f"ONNX Runtime runs {path.name} on {', '.join(got)} though {CUDA} was asked for: its"
            " CUDA libraries cannot be loaded. Install the CUDA and cuDNN that onnxruntime-gpu"
            " names, as torch's packages bring them."
        )
    _in_use.update(got)


def providers_in_use() -> tuple[str, ...]:
    """The providers of all sessions opened so far, the fastest first."""
    return tuple(sorted(_in_use, key=lambda name: name == CPU))


def _wanted(runtime: Any, device: str) -> list[Any]:
    """Only what can load: asking for a missing provider prints an error and slows the start."""
    if device != "cuda":
        return [CPU]
    if "torch" in sys.modules:  # its packages carry the CUDA and cuDNN libraries
        runtime.preload_dlls()
    options = {"device_id": "0", "arena_extend_strategy": "kSameAsRequested"}
    return [(CUDA, options), CPU]
