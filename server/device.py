"""The device of a worker: a GPU on which a real kernel ran, or the CPU with the reason why.

What it is not: the choice among several GPUs (slots.py). torch is imported here only where a CUDA
driver sees a device: on other machines that saves two seconds and 200 MB.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace

from runtime.precision import Policy, set_policy
from server.gpuconfig import GpuPlan
from server.settings import Settings
from server.slots import Slot
from server.state import DeviceReport

_SIDE = 64


class BootError(RuntimeError):
    """A worker cannot become ready. `final`: another try cannot help, the server should stop."""

    def __init__(self, message: str, *, final: bool) -> None:
        super().__init__(message)
        self.final = final


class DeviceError(RuntimeError):
    """The GPU cannot be used; the message says why."""


def needs_gpu(settings: Settings) -> str:
    """The setting that asks for a GPU; empty when the CPU will do."""
    if settings.require_gpu:
        return "REQUIRE_GPU=1"
    return "DEVICE=cuda" if settings.device == "cuda" else ""


def open_device(
    settings: Settings,
    slot: Slot,
    driver: Callable[[], int] | None = None,
    kernel: Callable[[], DeviceReport] | None = None,
) -> DeviceReport:
    """Choose the device and prove that it works.

    Args:
        settings: for DEVICE and REQUIRE_GPU.
        slot: the worker's slot; CUDA_VISIBLE_DEVICES is already set to it.
        driver: counts CUDA devices or raises DeviceError; for tests.
        kernel: runs a kernel and reports the device or raises DeviceError; for tests.

    Raises:
        BootError: a GPU is asked for and cannot be used.
    """
    try:
        if not slot.device:
            raise DeviceError(slot.why)
        (driver or count_devices)()
        report = (kernel or run_kernel)()
    except DeviceError as error:
        asked = needs_gpu(settings)
        if asked:
            raise BootError(
                f"{asked}, but no GPU can be used: {error}. Check the driver with nvidia-smi, give"
                " the container its GPU (--gpus all), or unset the setting to run on the CPU.",
                final=True,
            ) from error
        return DeviceReport(
            slot=slot.index,
            cuda_visible_devices=slot.device,
            onnx_providers=("CPUExecutionProvider",),
            why=str(error),
        )
    return replace(
        report, slot=slot.index, cuda_visible_devices=slot.device, why="a test kernel ran on it"
    )


def count_devices(library: str = "libcuda.so.1") -> int:
    """CUDA devices that the driver shows this process; at least one.

    Raises:
        DeviceError: no driver, or no device.
    """
    try:
        driver = ctypes.CDLL(library)
        code = driver.cuInit(0)
        count = ctypes.c_int()
        code = code or driver.cuDeviceGetCount(ctypes.byref(count))
    except (OSError, AttributeError) as error:
        raise DeviceError(f"no CUDA driver ({error})") from error
    if code:
        raise DeviceError(f"the CUDA driver answers error {code}")
    if not count.value:
        raise DeviceError("the CUDA driver sees no device")
    return count.value


def run_kernel() -> DeviceReport:
    """Multiply two matrices on the GPU and compare with the CPU: a driver may load and still lack
    kernels for the card ("no kernel image").

    Raises:
        DeviceError: torch cannot use the device, or its numbers are wrong.
    """
    try:
        import torch

        values = (torch.arange(_SIDE * _SIDE) % 7).reshape(_SIDE, _SIDE).float()
        on_gpu = values.to("cuda:0")
        result = (on_gpu @ on_gpu).cpu()
        if not torch.equal(result, values @ values):
            raise DeviceError("a matrix product on the GPU differs from the CPU's")
        return DeviceReport(
            kind="cuda",
            name=torch.cuda.get_device_name(0),
            gpu_count=torch.cuda.device_count(),
            memory_allocated_bytes=torch.cuda.memory_allocated(),
            memory_reserved_bytes=torch.cuda.memory_reserved(),
            uuid=str(torch.cuda.get_device_properties(0).uuid),
        )
    except (ImportError, OSError, RuntimeError, AssertionError) as error:
        raise DeviceError(f"torch cannot use the GPU: {error}") from error


def tune(gpus: GpuPlan, settings: Settings, report: DeviceReport) -> Settings:
    """Put the plan's memory share and precision into force, before any model is loaded; the
    settings with what it says for this device.
    """
    set_policy(Policy(gpus.amp, gpus.cudnn_benchmark))
    if report.kind != "cuda":
        return gpus.settled(settings, None)
    import torch

    if gpus.memory_fraction is not None:
        torch.cuda.set_per_process_memory_fraction(gpus.memory_fraction, 0)
    torch.backends.cudnn.benchmark = gpus.cudnn_benchmark
    torch.backends.cudnn.allow_tf32 = gpus.amp
    torch.backends.cuda.matmul.allow_tf32 = gpus.amp
    return gpus.settled(settings, torch.cuda.get_device_properties(0).total_memory)


def device_memory(report: DeviceReport) -> DeviceReport:
    """The report with torch's memory figures of now; unchanged on a CPU."""
    if report.kind != "cuda":
        return report
    import torch

    return replace(
        report,
        memory_allocated_bytes=torch.cuda.memory_allocated(),
        memory_reserved_bytes=torch.cuda.memory_reserved(),
    )
