"""Device slots: do the settings fit the GPUs that are there, and is a device in use?

What it is not: the driver (driver.py) or a use of a GPU (kernel.py).
"""

from __future__ import annotations

from collections.abc import Iterator

from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.leases import held
from scripts.doctor.look import Look
from server.device import needs_gpu
from server.gpuconfig import plan_gpus
from server.settings import Settings, load_settings, visible_devices
from server.slots import Slot, find_slots, nvidia_gpus


def check(look: Look) -> Iterator[Finding]:
    """Compare the slots with the GPUs, and look at the locks."""
    settings = load_settings()
    gpus = plan_gpus(settings, find_slots(settings, visible_devices()))
    yield from _gpus(look, settings, gpus.slots, gpus.workers)
    running = str(look.facts.get("running", ""))
    for lease in held(settings.data_dir):
        if running:
            yield nice(f"{lease.device} is in use by process {lease.pid}, of the running server")
            continue
        who = f"process {lease.pid or 'unknown'} ({lease.command or 'not on this host'})"
        text = f"{lease.device} is held by {who}, and no server answers at {settings.bind}"
        yield found("lease-held", text, pid=lease.pid or "PID")
    names = ", ".join(f"{slot.name} ({slot.why})" for slot in gpus.slots)
    yield nice(names, slots=[slot.device for slot in gpus.slots])


def _gpus(
    look: Look, settings: Settings, slots: tuple[Slot, ...], workers: int
) -> Iterator[Finding]:
    seen, here = look.facts.get("cuda_devices"), nvidia_gpus()
    asked = needs_gpu(settings)
    on_gpu = [slot for slot in slots if slot.device]
    if asked and (not on_gpu or seen == 0):
        setting, _, _ = asked.partition("=")
        text = f"{asked}, and there is no GPU: {slots[0].why}, {seen or 0} CUDA device(s)"
        yield found("gpu-required", text, setting=setting)
        return
    absent = [slot.device for slot in on_gpu if _absent(slot.device, here)]
    if absent:
        text = f"no GPU {', '.join(absent)}; there are: {', '.join(here) or 'none'}"
        yield found("slot-unknown", text)
    elif here and not on_gpu:
        yield found("gpus-hidden", f"{len(here)} GPU(s) are there, and {slots[0].why}")
    elif len(on_gpu) > workers:
        yield found("gpus-idle", f"{workers} worker(s) for {len(on_gpu)} GPUs")


def _absent(device: str, here: tuple[str, ...]) -> bool:
    """UUIDs of GPUs are left to the driver; numbers must be among those that are there, or below
    their count: CUDA's numbers, where GPUs are divided.
    """
    return device.isdigit() and device not in here and int(device) >= len(here)
