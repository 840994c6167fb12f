"""A lip-sync model on every device slot, each in a process of its own as the server's workers are,
and ways to spread batches over them.

What it is not: the server; nothing here decodes, encodes or queues jobs, so figures are the
model's own. Used by scripts/benchmark_gpu.py.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from server.gpuconfig import GpuPlan
from server.settings import Settings, pin_device
from server.slots import Slot

START_S = 600.0
_ROOT = Path(__file__).resolve().parents[1]


class FleetError(RuntimeError):
    """A worker of the fleet failed; the message is its own."""


class Strategy(StrEnum):
    """How batches are spread over the devices."""

    ROUND_ROBIN = "round_robin"
    LOAD_BALANCE = "load_balance"
    DATA_PARALLEL = "data_parallel"


@dataclass(frozen=True)
class Load:
    """What every worker of the fleet loads: `weights` None stands for stand-in weights."""

    model: str
    weights: Path | None
    settings: Settings
    gpus: GpuPlan
    threads: int


class Member:
    """One worker, seen from the parent: a call is sent, its answer fetched later."""

    def __init__(self, slot: Slot, load: Load) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_serve, args=(far, slot, load), name=f"fleet-{slot.name}", daemon=True
        )
        self._process.start()
        far.close()

    def send(self, name: str, *values: Any) -> None:
        """Ask for a call of `_Worker`."""
        self.pipe.send((name, values))

    def fetch(self) -> Any:
        """The answer to the oldest call.

        Raises:
            FleetError: the worker failed or died.
        """
        try:
            good, value = self.pipe.recv()
        except (EOFError, ConnectionResetError) as error:
            raise FleetError(f"{self._process.name} died") from error
        if not good:
            raise FleetError(f"{self._process.name}: {value}")
        return value

    def ask(self, name: str, *values: Any) -> Any:
        """Send and fetch."""
        self.send(name, *values)
        return self.fetch()

    def end(self) -> None:
        """Let the process end; one that does not is killed."""
        with suppress(OSError):
            self.pipe.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self.pipe.close()


@contextmanager
def fleet(slots: Sequence[Slot], load: Load) -> Iterator[list[Member]]:
    """A worker on each slot, with its model loaded and warm.

    Raises:
        FleetError: one cannot load the model.
    """
    members = [Member(slot, load) for slot in slots]
    try:
        for member in members:
            if not member.pipe.poll(START_S):
                raise FleetError(f"a worker was not ready within {START_S:g} s")
            member.fetch()
        yield members
    finally:
        for member in members:
            member.end()


def spread(members: Sequence[Member], strategy: Strategy, batches: int, size: int) -> float:
    """Work through so many batches of `size` frames per device; frames per second in all."""
    ways: dict[Strategy, Callable[[Sequence[Member], int, int], None]] = {
        Strategy.ROUND_ROBIN: _round_robin,
        Strategy.LOAD_BALANCE: _load_balance,
        Strategy.DATA_PARALLEL: _data_parallel,
    }
    total = batches * len(members)
    began = time.perf_counter()
    ways[strategy](members, total, size)
    return total * size / (time.perf_counter() - began)


def _round_robin(members: Sequence[Member], batches: int, size: int) -> None:
    """Batch after batch to the next device, however busy it is."""
    asked = [member for member, _ in zip(itertools.cycle(members), range(batches), strict=False)]
    for member in asked:
        member.send("call", size)
    for member in asked:
        member.fetch()


def _load_balance(members: Sequence[Member], batches: int, size: int) -> None:
    """A batch to whichever device is free."""
    by_pipe = {member.pipe: member for member in members}
    left = batches
    busy: set[Connection] = set()
    for member in members[:left]:
        member.send("call", size)
        busy.add(member.pipe)
        left -= 1
    while busy:
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)  # noqa: S101 - for the type checker
            member = by_pipe[pipe]
            member.fetch()
            if left:
                member.send("call", size)
                left -= 1
            else:
                busy.discard(pipe)


def _data_parallel(members: Sequence[Member], batches: int, size: int) -> None:
    """One large batch at a time, a part to each device; all wait for the slowest."""
    for _ in range(batches // len(members)):
        for member in members:
            member.send("call", size)
        for member in members:
            member.fetch()


# In the worker's process


def _serve(pipe: Connection, slot: Slot, load: Load) -> None:
    pin_device(slot.device)
    try:
        with TemporaryDirectory(prefix="fleet-") as folder:
            worker = _Worker(slot, load, Path(folder))
            pipe.send((True, None))
            while (asked := pipe.recv()) is not None:
                name, values = asked
                pipe.send((True, getattr(worker, name)(*values)))
    except (EOFError, KeyboardInterrupt):
        return
    except Exception as error:  # noqa: BLE001 - border of the process: the reason must get out
        pipe.send((False, f"{type(error).__name__}: {error}"))


class _Worker:
    def __init__(self, slot: Slot, load: Load, folder: Path) -> None:
        import torch

        from server.device import open_device, tune

        torch.set_num_threads(load.threads)
        self._torch = torch
        self.device = open_device(load.settings, slot)
        self.settings = tune(load.gpus, load.settings, self.device)
        self.lipsync, self.note, self.items = _prepared(load, folder)
        self.size = min(self.settings.batch_size_per_gpu, self.lipsync.max_batch)
        self.call(1)
        self.call(self.size)

    def facts(self) -> dict[str, Any]:
        """What runs here, on what, with which batch."""
        return {
            "device": self.device.name,
            "kind": self.device.kind,
            "why": self.device.why,
            "models": self.note,
            "batch_size": self.size,
            "torch": self._torch.__version__,
            "cuda": self._torch.version.cuda,
        }

    def call(self, size: int) -> float:
        """One call of the model with so many real items; its seconds."""
        items = [self.items[index % len(self.items)] for index in range(size)]
        began = time.perf_counter()
        self.lipsync.render(items)
        if self.device.kind == "cuda":
            self._torch.cuda.synchronize()
        return time.perf_counter() - began

    def calls(self, size: int, rounds: int) -> list[float]:
        """So many calls one after the other."""
        return [self.call(size) for _ in range(rounds)]

    def memory(self) -> dict[str, int | None]:
        """Bytes: resident, and torch's on the device."""
        import psutil

        cuda = self._torch.cuda if self.device.kind == "cuda" else None
        return {
            "rss_bytes": psutil.Process().memory_info().rss,
            "allocated_bytes": cuda.memory_allocated() if cuda else None,
            "reserved_bytes": cuda.memory_reserved() if cuda else None,
            "peak_allocated_bytes": cuda.max_memory_allocated() if cuda else None,
            "total_bytes": cuda.get_device_properties(0).total_memory if cuda else None,
        }


def _prepared(load: Load, folder: Path) -> tuple[Any, str, list[Any]]:
    """The model, a word on its weights, and the items that a real dub of the sample asks it for."""
    from benchmarks.dubbing import KEPT_ITEMS, Stagehand, cast
    from benchmarks.quiet import Quiet
    from scripts.make_samples import make_video
    from trans_dh_service.pipeline import dub
    from trans_dh_service.task import DubTask, DubTools, StoppedError

    models = cast(load.model, load.weights or folder / "none", folder)
    hand = Stagehand(models.lipsync)

    class Enough(Quiet):
        def stopped(self) -> bool:
            return len(hand.items) >= KEPT_ITEMS

    video = folder / "sample.mp4"
    make_video(video)
    task = DubTask(video, _ROOT / "scripts/assets/speech.flac", folder / "work", folder / "out.mp4")
    tools = DubTools(
        models.detector, models.speech, models.lipsync, hand.submitter(), folder / "cache"
    )
    with suppress(StoppedError):
        dub(task, tools, Enough())
    hand.lane.stop()
    return models.lipsync, models.note, hand.items
