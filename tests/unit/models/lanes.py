"""Fakes for tests of the lane."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from models.lane import Engine, Lane, Priority

WAIT_S = 10


class FakeEngine:
    """Doubles numbers. `gate` holds its first batch; `rule` may raise for a batch."""

    def __init__(
        self,
        name: str = "double",
        priority: Priority = Priority.BATCH,
        max_batch: int = 4,
        rule: Callable[[list[Any]], None] = lambda items: None,
        seconds: float = 0.0,
    ) -> None:
        self.name = name
        self.priority = priority
        self.max_batch = max_batch
        self.rule = rule
        self.seconds = seconds
        self.batches: list[list[Any]] = []
        self.times: list[float] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def run(self, items: Sequence[Any]) -> list[Any]:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        self.batches.append(list(items))
        self.times.append(time.monotonic())
        time.sleep(self.seconds)
        self.rule(list(items))
        return [item * 2 for item in items]


class CudaOutOfMemoryError(RuntimeError):
    """Looks like torch's."""


class Fixture:
    """Makes lanes and stops them."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []

    def __call__(self, *engines: Engine, **options: Any) -> Lane:
        lane = Lane(engines, **options)
        lane.start()
        self.lanes.append(lane)
        return lane


def hold(lane: Lane, engine: FakeEngine) -> Any:
    """Occupy the lane until `engine.gate` opens."""
    engine.gate.clear()
    engine.entered.clear()
    future = lane.submit(engine.name, 0)
    assert engine.entered.wait(WAIT_S)
    return future


def out_of_memory_above(limit: int) -> Callable[[list[Any]], None]:
    def rule(items: list[Any]) -> None:
        if len(items) > limit:
            raise CudaOutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    return rule
