"""The NVIDIA driver: is it there, does it start, which GPUs does it show, who fills their memory?

What it is not: a use of a GPU (kernel.py). ctypes and the standard library only: this must work
where nothing else does. Numbers of errors are those of cuda.h and nvml.h.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import Look

_CUDA = "libcuda.so.1"
_NVML = "libnvidia-ml.so.1"
_NVIDIA = "0x10de"
_GIB = 1024**3
_NO_DEVICE = 100
_MISMATCH = 18
_PROHIBITED = 2
_NAME_BYTES = 96
_LEAST_FREE = 0.2
_REBOOT = "reboot the host"
#: Why cuInit failed, and what mends it.
ANSWERS = {
    2: ("out of memory", "nvidia-smi; end what fills the GPU"),
    3: ("not initialised", _REBOOT),
    46: ("the GPUs are busy or unavailable", "nvidia-smi -c DEFAULT; end other users of the GPU"),
    100: ("no device", "nvidia-smi -L; start the container with --gpus all"),
    101: ("no such device", "unset CUDA_VISIBLE_DEVICES"),
    802: (
        "the system is not ready",
        "systemctl start nvidia-fabricmanager (machines with NVSwitch)",
    ),
    803: ("driver and library have different versions", _REBOOT),
    804: (
        "forward compatibility is not supported on this card",
        "take cuda-compat out of LD_LIBRARY_PATH, or upgrade the driver",
    ),
    999: ("unknown error", "modprobe -r nvidia_uvm && modprobe nvidia_uvm, or reboot the host"),
}


class Memory(ctypes.Structure):
    """nvmlMemory_t, bytes."""

    _fields_ = (
        ("total", ctypes.c_ulonglong),
        ("free", ctypes.c_ulonglong),
        ("used", ctypes.c_ulonglong),
    )


@dataclass(frozen=True)
class Gpu:
    """What NVML says of one GPU. `capability` is e.g. "9.0"; `mode` is NVML's compute mode."""

    index: int
    name: str
    capability: str
    total_bytes: int
    free_bytes: int
    mode: int

    @property
    def fact(self) -> dict[str, Any]:
        """For later checks and the summary."""
        return {
            "name": self.name,
            "capability": self.capability,
            "memory_gib": self.total_bytes / _GIB,
        }


def check(_look: Look) -> Iterator[Finding]:
    """Ask libcuda, then NVML."""
    try:
        cuda = ctypes.CDLL(_CUDA)
    except OSError as error:
        cards = nvidia_cards()
        if cards:
            yield found("driver-missing", f"{cards[0]} is there, and {_CUDA} is not: {error}")
        else:
            yield nice("no NVIDIA card and no driver: models run on the CPU", cuda_devices=0)
        return
    code = cuda.cuInit(0) if hasattr(cuda, "cuInit") else 0
    version = _number(cuda, "cuDriverGetVersion")
    count = 0 if code else _number(cuda, "cuDeviceGetCount")
    if code and (code != _NO_DEVICE or nvidia_cards()):
        why, remedy = ANSWERS.get(code, ("see cuda.h", "nvidia-smi; dmesg | grep -i nvrm"))
        yield found("driver-error", f"cuInit answers {code}: {why}", remedy=remedy)
    yield from _nvml(count, version)


def nvidia_cards() -> list[str]:
    """Signs of an NVIDIA card that need no driver: device files, the module, the PCI bus."""
    files = [str(path) for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]
    module = Path("/proc/driver/nvidia/version")
    files += [str(module)] if module.exists() else []
    for device in Path("/sys/bus/pci/devices").glob("*"):
        kind, vendor = _text(device / "class"), _text(device / "vendor")
        # Class 0x03: display controllers.
        if vendor == _NVIDIA and kind.startswith("0x03"):
            files.append(f"PCI device {device.name}")
    return files


def _nvml(count: int, version: int) -> Iterator[Finding]:
    cuda = f"CUDA {version // 1000}.{version % 1000 // 10}" if version else "CUDA of no known kind"
    facts = {"cuda_devices": count, "cuda_version": version, "driver": cuda}
    try:
        nvml = ctypes.CDLL(_NVML)
    except OSError:
        yield nice(f"{cuda}, {count} device(s); NVML is not there", **facts)
        return
    code = nvml.nvmlInit_v2()
    if code == _MISMATCH:
        yield found("nvml-mismatch", f"nvmlInit answers {code}: driver/library version mismatch")
        return
    if code:
        yield found("nvml-error", f"nvmlInit answers {code}")
        return
    gpus = [_gpu(nvml, index) for index in range(_number(nvml, "nvmlDeviceGetCount_v2"))]
    for gpu in gpus:
        yield from _state(gpu)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    if hasattr(nvml, "nvmlSystemGetDriverVersion"):
        nvml.nvmlSystemGetDriverVersion(name, _NAME_BYTES)
    driver = f"{name.value.decode(errors='replace')} ({cuda})" if name.value else cuda
    facts |= {"gpus": [gpu.fact for gpu in gpus], "driver": driver}
    said = "; ".join(
        f"{gpu.index}: {gpu.name}, compute capability {gpu.capability},"
        f" {gpu.free_bytes / _GIB:.1f} of {gpu.total_bytes / _GIB:.1f} GiB free"
        for gpu in gpus
    )
    yield nice(f"{driver}, {count} device(s){'; ' + said if said else ''}", **facts)


def _gpu(nvml: Any, index: int) -> Gpu:
    handle, memory = ctypes.c_void_p(), Memory()
    major, minor, mode = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(_NAME_BYTES)
    nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
    nvml.nvmlDeviceGetName(handle, name, _NAME_BYTES)
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    nvml.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
    nvml.nvmlDeviceGetComputeMode(handle, ctypes.byref(mode))
    return Gpu(
        index,
        name.value.decode(errors="replace"),
        f"{major.value}.{minor.value}",
        memory.total,
        memory.free,
        mode.value,
    )


def _state(gpu: Gpu) -> Iterator[Finding]:
    if gpu.mode == _PROHIBITED:
        yield found("compute-prohibited", f"GPU {gpu.index} ({gpu.name})", gpu=gpu.index)
    if gpu.free_bytes < gpu.total_bytes * _LEAST_FREE:
        text = f"GPU {gpu.index}: {gpu.free_bytes / _GIB:.1f} of {gpu.total_bytes / _GIB:.1f} GiB"
        yield found("gpu-memory-taken", f"{text} are free")


def _number(library: Any, function: str) -> int:
    """What a function writes to its one int; 0 when it fails or is not there."""
    value = ctypes.c_int()
    if not hasattr(library, function):
        return 0
    return 0 if getattr(library, function)(ctypes.byref(value)) else value.value


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
