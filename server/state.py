"""What one worker says of itself: phase, device, models. Written by the lifecycle, read by HTTP and
metrics.

What it is not: the thing that changes phases (server/lifecycle.py) or formats answers
(server/http).
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field
from enum import StrEnum

from server.roster import Presence, Roster


class Phase(StrEnum):
    """Where a worker is in its life. Only READY takes jobs."""

    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True)
class DeviceReport:
    """The device in use. `kind` is "cpu" or "cuda"; memory in bytes, None on a CPU.
    `uuid`: the GPU's name for NVML, "" where it is not known.
    """

    kind: str = "cpu"
    name: str = "cpu"
    slot: int = 0
    cuda_visible_devices: str | None = None
    nvidia_visible_devices: str | None = None
    onnx_providers: tuple[str, ...] = ()
    gpu_count: int = 0
    memory_allocated_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    uuid: str = ""
    why: str = ""


@dataclass
class WorkerState:
    """Shared between the lifecycle, HTTP and metrics. Single fields are replaced whole, so reads
    need no lock. `detector`: the face detector in use; `lipsync`: the lip-sync models that this
    worker was told to load, the default first, () before it has loaded them.
    """

    phase: Phase = Phase.LOADING
    reason: str = ""
    device: DeviceReport = field(default_factory=DeviceReport)
    models: dict[str, str] = field(default_factory=dict)
    detector: str = ""
    lipsync: tuple[str, ...] = ()
    started_at: float = field(default_factory=time.time)
    pid: int = field(default_factory=os.getpid)
    draining: threading.Event = field(default_factory=threading.Event)
    roster: Roster = field(default_factory=Roster)

    @property
    def ready(self) -> bool:
        """Whether new work is taken."""
        return self.phase is Phase.READY

    def present(self, metrics: str = "") -> Presence:
        """What this worker says of itself now."""
        return Presence(
            pid=self.pid,
            slot=self.device.slot,
            status=self.phase.value,
            reason=self.reason,
            device=self.device.name,
            started_at=self.started_at,
            at=time.time(),
            metrics=metrics,
        )

    def workers(self) -> list[Presence]:
        """This worker as it is now and the others as they last said."""
        others = [other for other in self.roster.all() if other.pid != self.pid]
        mine = self.present()
        return sorted([mine, *others], key=lambda one: (one.slot, one.started_at))
