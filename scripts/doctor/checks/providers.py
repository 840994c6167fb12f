"""ONNX Runtime: on what does a real session really run?

What it is not: the list of providers that were compiled in, which says nothing about working.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.catalog import ENTRIES
from models.files import locate
from runtime.sessions import CUDA, ProviderError, open_session
from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import Look
from server.gpuconfig import plan_gpus
from server.settings import load_settings, pin_device, visible_devices
from server.slots import find_slots

_MODEL = "viseme-audio"
_FREE_SIZE = 256  # of dimensions that the model leaves open


def check(look: Look) -> Iterator[str | Finding]:
    """Open a session on the embedded speech model, as a worker does, and run it."""
    settings = load_settings()
    slot = plan_gpus(settings, find_slots(settings, visible_devices())).slots[0]
    on_gpu = bool(slot.device and look.facts.get("cuda_devices"))
    pin_device(slot.device)
    path = next(
        locate(file, settings.weights_dir)
        for entry in ENTRIES
        for file in entry.files
        if entry.name == _MODEL
    )
    if on_gpu:
        importlib.import_module("torch")  # its packages carry the CUDA and cuDNN libraries
    yield "onnxruntime"
    import onnxruntime

    if on_gpu and CUDA not in onnxruntime.get_available_providers():
        text = f"onnxruntime {onnxruntime.__version__} has no {CUDA}, and the driver shows a GPU"
        yield found("onnx-cpu-build", text, python=look.python)
        on_gpu = False
    try:
        yield nice(_run(path, "cuda" if on_gpu else "cpu"))
    except ProviderError as error:
        yield found("onnx-cuda-failed", str(error), python=look.python)
    except Exception as error:  # noqa: BLE001 - the runtime's errors have no common kind
        text = f"{path.name}: {type(error).__name__}: {str(error).splitlines()[0]}"
        yield found("onnx-broken", text, python=look.python)


def _run(path: Path, device: str) -> str:
    import numpy as np

    session = open_session(path, device)
    feeds: dict[str, Any] = {}
    for given in session.get_inputs():
        shape = [size if isinstance(size, int) else _FREE_SIZE for size in given.shape]
        kind = np.int64 if "int64" in given.type else np.float32
        feeds[given.name] = np.zeros(shape, kind)
    results = session.run(None, feeds)
    if not all(np.isfinite(result).all() for result in results):
        raise ValueError("its numbers are not finite")
    return f"a session of {path.name} runs on {', '.join(session.get_providers())}"
