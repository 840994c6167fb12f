"""Device slots: which GPUs there are, found without touching CUDA, so the master may ask.

What it is not: the lease that makes an owner exclusive (lease.py) or the check that a device works
(device.py).
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from server.settings import Settings, SettingsError

_GPU_LINE = re.compile(r"^GPU (\d+):")
_MIG_LINE = re.compile(r"^\s+MIG .*\(UUID: (MIG-[^)]+)\)")
_SMI_TIMEOUT_S = 20


@dataclass(frozen=True)
class Slot:
    """One place for one worker. `device` goes into CUDA_VISIBLE_DEVICES; it is empty on a CPU.

    `why` says where the slot comes from. `place` tells several places on one CPU apart.
    """

    index: int
    device: str
    why: str
    place: str = ""

    @property
    def name(self) -> str:
        """A name fit for a file: "gpu-0", "gpu-MIG-...", "cpu", "cpu-0"."""
        kind, which = ("gpu", self.device) if self.device else ("cpu", self.place)
        return f"{kind}-{re.sub(r'[^A-Za-z0-9.-]', '_', which)}" if which else kind

    @property
    def label(self) -> str:
        """What people call it: the device as it was named, or "cpu"."""
        return self.device or self.name


def find_slots(
    settings: Settings, visible: str | None, gpus: Callable[[], Sequence[str]] | None = None
) -> tuple[Slot, ...]:
    """The slots, by the first that speaks: DEVICE_SLOTS, DEVICE=cpu, CUDA_VISIBLE_DEVICES, the GPUs
    of this machine. At least one: without a GPU there is one CPU slot. With DEVICE=cpu the names in
    DEVICE_SLOTS are places on the CPU.

    Args:
        settings: for DEVICE and DEVICE_SLOTS.
        visible: the value of CUDA_VISIBLE_DEVICES, None when it is not set.
        gpus: lists the machine's devices; the default asks nvidia-smi.

    Raises:
        SettingsError: a device is named twice.
    """
    if settings.device == "cpu":
        places = _slots(_names(settings.device_slots or ""), "DEVICE_SLOTS", "DEVICE=cpu")
        return tuple(_on_cpu(slot) for slot in places)
    if settings.device_slots:
        return _slots(_names(settings.device_slots), "DEVICE_SLOTS", "DEVICE_SLOTS names no device")
    if visible is not None:
        return _slots(
            _names(visible), "CUDA_VISIBLE_DEVICES", f"CUDA_VISIBLE_DEVICES={visible!r} hides all"
        )
    return _slots((gpus or nvidia_gpus)(), "found on this machine", "no NVIDIA GPU was found")


def _on_cpu(slot: Slot) -> Slot:
    return replace(slot, device="", place=slot.device, why="DEVICE=cpu")


def _names(text: str) -> list[str]:
    """Device names of a list; CUDA ends the list at the first negative number."""
    names: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if part.startswith("-"):
            break
        if part:
            names.append(part)
    return names


def _slots(names: Sequence[str], why: str, why_none: str) -> tuple[Slot, ...]:
    if len(set(names)) != len(names):
        raise SettingsError(f"{why}={','.join(names)}: a device may be named once only")
    if not names:
        return (Slot(0, "", why_none),)
    return tuple(Slot(index, name, why) for index, name in enumerate(names))


def nvidia_gpus() -> tuple[str, ...]:
    """Names of all GPUs: MIG UUIDs where a GPU is divided, else numbers; () without a driver.

    nvidia-smi runs as a process of its own. Containers without it still have /dev/nvidia<N>, and
    CUDA counts those from 0.
    """
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"],  # noqa: S607 - found on PATH as every NVIDIA tool does
            capture_output=True,
            text=True,
            timeout=_SMI_TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return tuple(str(index) for index, _ in enumerate(Path("/dev").glob("nvidia[0-9]*")))
    return parse_listing(listing)


def parse_listing(listing: str) -> tuple[str, ...]:
    """Device names in the output of `nvidia-smi -L`."""
    names: list[str] = []
    for line in listing.splitlines():
        if gpu := _GPU_LINE.match(line):
            names.append(gpu[1])
        elif (mig := _MIG_LINE.match(line)) and names:
            if not names[-1].startswith("MIG-"):
                names.pop()  # the whole GPU cannot be used while it is divided
            names.append(mig[1])
    return tuple(names)
