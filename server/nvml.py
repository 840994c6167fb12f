"""What NVML says of one GPU: memory, utilisation, temperature.

What it is not: a look at the devices before the fork (slots.py), or torch's own memory (device.py).
NVML counts all processes of the GPU and needs no CUDA context. Figures that a GPU does not give
(utilisation of a MIG slice, say) are None.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

_log = structlog.get_logger("server.nvml")

# torch gives a bare UUID; NVML wants it with the kind of device in front.
_KINDS = ("GPU-", "MIG-")


@dataclass(frozen=True)
class Reading:
    """Figures of one moment. `utilization`: share of the last sampling period (up to a second) in
    which a kernel ran, 0 to 1.
    """

    used_bytes: int | None = None
    total_bytes: int | None = None
    utilization: float | None = None
    temperature_c: float | None = None


def load_nvml() -> Any:
    """The binding of NVML, initialised.

    Raises:
        ImportError: the package nvidia-ml-py is not installed.
        Exception: pynvml.NVMLError, there is no driver or it does not answer.
    """
    binding = importlib.import_module("pynvml")
    binding.nvmlInit()
    return binding


class Nvml:
    """One GPU, by its UUID (with or without "GPU-"). Never raises: what cannot be read is None."""

    def __init__(self, uuid: str, load: Callable[[], Any] = load_nvml) -> None:
        self.uuid = uuid
        self._load = load
        self._binding: Any = None
        self._handle: Any = None
        self._told = False

    def read(self) -> Reading | None:
        """The figures of now; None where NVML or the GPU does not answer (said once in the log)."""
        try:
            if self._handle is None:
                self._open()
            return self._read()
        except Exception as error:  # noqa: BLE001 - NVML's errors are known only once it is loaded
            self._handle = None
            if not self._told:
                self._told = True
                _log.warning("no_gpu_figures", gpu=self.uuid, error=str(error))
            return None

    def _open(self) -> None:
        self._binding = self._binding or self._load()
        bare = self.uuid.removeprefix("GPU-").removeprefix("MIG-")
        for kind in _KINDS:
            with suppress(self._binding.NVMLError):
                self._handle = self._binding.nvmlDeviceGetHandleByUUID(kind + bare)
                return
        raise LookupError(f"NVML knows no GPU with the UUID {bare}")

    def _read(self) -> Reading:
        nvml, gpu = self._binding, self._handle
        memory = nvml.nvmlDeviceGetMemoryInfo(gpu)  # a lost GPU raises here
        self._told = False
        utilization = self._maybe(lambda: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu / 100)
        temperature = self._maybe(
            lambda: float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))
        )
        return Reading(memory.used, memory.total, utilization, temperature)

    def _maybe(self, figure: Callable[[], float]) -> float | None:
        try:
            return figure()
        except self._binding.NVMLError:
            return None
