"""What GPU_CONFIG and its companions come to: workers, slots, batch size, memory, precision.

What it is not: the list of devices (slots.py) or their use (device.py). Imports nothing heavy: the
master asks. Names, batch sizes and memory shares are those of the old guides for MuseTalk; a
setting that is given wins over the configuration's, and what cannot hold together is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.settings import GpuConfig, Settings, SettingsError
from server.slots import Slot

_GIB = 1024**3
# Frames per batch by the device's memory in GiB, for GPU_CONFIG=custom; below the last one, 2.
_BY_MEMORY = ((40, 16), (24, 8), (16, 4), (12, 3))
_LEAST_BATCH = 2
# Drivers report a little less than the memory on the box ("24 GB" shows as 23.6 GiB and less).
_SHORT = 0.93


@dataclass(frozen=True)
class Preset:
    """A configuration's own values. `devices`: how many GPUs it has, one worker each; 0 is every
    one there is, None leaves it to GUNICORN_WORKERS.
    """

    devices: int | None = None
    batch: int | None = None
    memory_fraction: float | None = None


PRESETS = {
    GpuConfig.AUTO: Preset(),
    GpuConfig.SINGLE_GPU: Preset(devices=1),
    GpuConfig.MULTI_GPU: Preset(devices=0),
    GpuConfig.SINGLE_4090D_48GB: Preset(devices=1, batch=20, memory_fraction=0.95),
    GpuConfig.QUAD_4090_24GB: Preset(devices=4, batch=8, memory_fraction=0.90),
    GpuConfig.CUSTOM: Preset(),
}


@dataclass(frozen=True)
class GpuPlan:
    """What is in force. `batch` is frames per worker and call, None where the device's memory
    decides (`by_memory`) or nothing was said; `memory_fraction` None leaves all of it.
    """

    slots: tuple[Slot, ...] = ()
    workers: int = 1
    batch: int | None = None
    by_memory: bool = False
    memory_fraction: float | None = None
    amp: bool = True
    cudnn_benchmark: bool = True

    def settled(self, settings: Settings, memory_bytes: int | None) -> Settings:
        """The settings of a worker on a device of so much memory (None on a CPU)."""
        batch = self.batch
        if batch is None and self.by_memory and memory_bytes is not None:
            batch = batch_for(memory_bytes)
        changes = {"gunicorn_workers": self.workers}
        if batch is not None:
            changes["batch_size_per_gpu"] = batch
        return settings.model_copy(update=changes)


def batch_for(memory_bytes: int) -> int:
    """Frames per batch for a device of this memory, as GPU_CONFIG=custom chooses."""
    for gib, batch in _BY_MEMORY:
        if memory_bytes >= gib * _SHORT * _GIB:
            return batch
    return _LEAST_BATCH


def plan_gpus(settings: Settings, slots: tuple[Slot, ...]) -> GpuPlan:
    """Turn the settings into a plan for the slots of this machine.

    Raises:
        SettingsError: settings contradict each other or the machine; the message names them.
    """
    preset = PRESETS[settings.gpu_config]
    slots = _slots(settings, preset, slots)
    workers = _workers(settings, preset, slots)
    return GpuPlan(
        slots=slots,
        workers=workers,
        batch=_batch(settings, preset, workers),
        by_memory=settings.gpu_config is GpuConfig.CUSTOM,
        memory_fraction=settings.gpu_memory_fraction or preset.memory_fraction,
        amp=settings.enable_amp,
        cudnn_benchmark=settings.enable_cudnn_benchmark,
    )


def _given(settings: Settings, name: str) -> bool:
    """Whether a setting was set, even to its default."""
    return name in settings.model_fields_set


def _slots(settings: Settings, preset: Preset, slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
    if not preset.devices:
        return slots
    if len(slots) < preset.devices:
        names = ", ".join(slot.label for slot in slots)
        raise SettingsError(
            f"GPU_CONFIG={settings.gpu_config.value} takes {preset.devices} devices and there is"
            f" only {len(slots)} ({names}; {slots[0].why}): choose single_gpu, multi_gpu or auto,"
            " or name more devices in DEVICE_SLOTS"
        )
    return slots[: preset.devices]


def _workers(settings: Settings, preset: Preset, slots: tuple[Slot, ...]) -> int:
    """One per device; GUNICORN_WORKERS wins. Too many for the devices is refused by master.py."""
    asked = settings.gunicorn_workers
    if preset.devices is None:
        return asked
    if not _given(settings, "gunicorn_workers"):
        return len(slots)
    if preset.devices and asked > preset.devices:
        raise SettingsError(
            f"GUNICORN_WORKERS={asked}: GPU_CONFIG={settings.gpu_config.value} has"
            f" {preset.devices} device(s), one worker each; allowed are 1 to {preset.devices}, or"
            " GPU_CONFIG=multi_gpu for all devices"
        )
    return asked


def _batch(settings: Settings, preset: Preset, workers: int) -> int | None:
    total = settings.total_batch_size
    own = settings.batch_size_per_gpu if _given(settings, "batch_size_per_gpu") else None
    if total is None:
        return own or preset.batch
    if own is not None and own * workers != total:
        raise SettingsError(
            f"TOTAL_BATCH_SIZE={total}: BATCH_SIZE_PER_GPU={own} times {workers} worker(s) is"
            f" {own * workers}; set one of the two, or make them agree"
        )
    if total % workers:
        raise SettingsError(
            f"TOTAL_BATCH_SIZE={total} cannot be divided by {workers} workers: allowed are"
            f" multiples of {workers}"
        )
    return total // workers
