"""The lane: the one thread that touches the device. Engines hand it units of work; it batches and
orders them.

What it is not: a queue of jobs (server/jobs) or a model. Errors of the device are sorted out in
faults.py.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Protocol

import structlog

from models.faults import Fault, classify, forget, free_device_memory

GATHER_S = 0.005
PATIENCE_S = 0.1
# How long a batch may hold up work of a higher priority, unless one item takes longer. Together
# with PATIENCE_S it keeps the 95th percentile of the time between two steps of any length within
# three times a step: at most one step in twenty waits, or a wait is at most two steps long.
SLICE_S = 0.01
# Full batches in a row before a size that ran out of memory is raised again.
RECOVER_AFTER = 64

_log = structlog.get_logger("models.lane")


class Priority(IntEnum):
    """Lower goes first."""

    INTERACTIVE = 0
    NORMAL = 10
    BATCH = 20


class Engine(Protocol):
    """A kind of work. `run` is called on the lane's thread with 1..max_batch items and gives one
    result per item, in order.
    """

    name: str
    priority: Priority
    max_batch: int

    def run(self, items: Sequence[Any]) -> Sequence[Any]:
        """One result per item."""


class LaneError(RuntimeError):
    """The lane cannot take or finish this item."""


@dataclass(frozen=True)
class BatchReport:
    """What one batch was: for metrics. `waited_s` is the wait of its oldest item."""

    engine: str
    size: int
    max_batch: int
    mixed: bool
    ooms: int
    waited_s: float
    busy_s: float


@dataclass(frozen=True)
class EngineStats:
    """Sums of one engine since the start, and its state now."""

    batches: int = 0
    items: int = 0
    mixed_batches: int = 0
    ooms: int = 0
    failed_items: int = 0
    busy_s: float = 0.0
    waiting: int = 0
    effective_max: int = 1


@dataclass(eq=False)
class _Item:
    """One unit of work. `caller` tells which batches mix callers."""

    value: Any
    caller: Hashable
    future: Future[Any]
    since: float


@dataclass(eq=False)
class _Queue:
    """What waits for one engine, and what became of it so far."""

    engine: Engine
    limit: int
    waiting: deque[_Item] = field(default_factory=deque)
    served_at: float = 0.0
    good_batches: int = 0
    batches: int = 0
    items: int = 0
    mixed: int = 0
    ooms: int = 0
    failed: int = 0
    busy_s: float = 0.0
    # What one item takes, as far as known.
    item_s: float = 0.0

    def learn(self, size: int, busy_s: float) -> None:
        """Note what a batch took."""
        item_s = busy_s / size
        self.item_s = item_s if not self.item_s else 0.7 * self.item_s + 0.3 * item_s

    def starving(self, now: float) -> bool:
        """Whether it has neither been served nor been empty for PATIENCE_S."""
        return now - max(self.served_at, self.waiting[0].since) >= PATIENCE_S

    def stats(self) -> EngineStats:
        """The figures."""
        return EngineStats(
            self.batches,
            self.items,
            self.mixed,
            self.ooms,
            self.failed,
            self.busy_s,
            len(self.waiting),
            self.limit,
        )


class Lane:
    """One native thread that runs batches of the engines."""

    def __init__(
        self,
        engines: Sequence[Engine],
        on_batch: Callable[[BatchReport], None] | None = None,
        on_dead: Callable[[str], None] | None = None,
        free_memory: Callable[[], None] = free_device_memory,
    ) -> None:
        """Make a lane.

        Args:
            engines: the kinds of work; names are unique.
            on_batch: told of every batch, on the lane's thread.
            on_dead: told once when the device's context is dead; the process should end, and the
                futures of that moment stay open.
            free_memory: gives cached device memory back, before a smaller batch is tried.
        """
        self._queues = {engine.name: _Queue(engine, engine.max_batch) for engine in engines}
        if len(self._queues) != len(engines):
            raise ValueError(f"two engines of one name: {[engine.name for engine in engines]}")
        self._on_batch = on_batch
        self._on_dead = on_dead
        self._free_memory = free_memory
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._loop, name="lane", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def add(self, engine: Engine) -> None:
        """Take on one more kind of work, at any time.

        Raises:
            ValueError: there is an engine of this name.
        """
        with self._changed:
            if engine.name in self._queues:
                raise ValueError(f"two engines of one name: {engine.name!r}")
            self._queues[engine.name] = _Queue(engine, engine.max_batch)

    def submit(self, engine_name: str, item: Any, caller: Hashable | None = None) -> Future[Any]:
        """Queue one item. `caller` names who asks (default: the calling thread).

        Raises:
            LaneError: no such engine, or the lane is stopped.
        """
        queue = self._queues.get(engine_name)
        if queue is None:
            known = ", ".join(self._queues) or "none"
            raise LaneError(f"no engine {engine_name!r} on the lane; there are: {known}")
        caller = threading.get_ident() if caller is None else caller
        entry = _Item(item, caller, Future(), time.monotonic())
        with self._changed:
            if not self._open:
                raise LaneError("the lane is stopped")
            queue.waiting.append(entry)
            self._changed.notify()
        return entry.future

    def stop(self, timeout_s: float = 10.0) -> None:
        """Finish the batch in work; fail what waits. Returns when the thread has ended."""
        with self._changed:
            self._open = False
            left = [entry for queue in self._queues.values() for entry in queue.waiting]
            for queue in self._queues.values():
                queue.waiting.clear()
            self._changed.notify_all()
        for entry in left:
            if entry.future.set_running_or_notify_cancel():
                entry.future.set_exception(LaneError("the lane is stopped"))
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def stats(self) -> dict[str, EngineStats]:
        """Figures of each engine."""
        with self._changed:
            return {name: queue.stats() for name, queue in self._queues.items()}

    # The lane's thread

    def _loop(self) -> None:
        try:
            while (picked := self._next_batch()) is not None:
                queue, entries = picked
                if entries and not self._work(queue, entries):
                    return
        except Exception as error:  # noqa: BLE001 - without this thread nothing is ever answered
            _log.exception("the lane failed")
            self._die(f"the lane failed: {error}")

    def _next_batch(self) -> tuple[_Queue, list[_Item]] | None:
        """Wait for work and take a batch; None when the lane is stopped."""
        with self._changed:
            self._changed.wait_for(lambda: not self._open or self._ready())
            self._gather()
            if not self._open:
                return None
            ready = self._ready()
            queue = _choose(ready, time.monotonic())
            return queue, _take(queue, _room(queue, ready))

    def _ready(self) -> list[_Queue]:
        return [queue for queue in self._queues.values() if queue.waiting]

    def _gather(self) -> None:
        """Wait a moment for a fuller batch, while one engine alone has work and it is not full."""
        deadline = time.monotonic() + GATHER_S
        while self._open:
            ready = self._ready()
            left_s = deadline - time.monotonic()
            if len(ready) != 1 or len(ready[0].waiting) >= ready[0].limit or left_s <= 0:
                return
            self._changed.wait(left_s)

    def _work(self, queue: _Queue, entries: list[_Item]) -> bool:
        """Run one batch to its end; False when the device is dead."""
        began = time.monotonic()
        ooms = queue.ooms
        alive = self._run(queue, entries)
        queue.served_at = time.monotonic()
        mixed = len({entry.caller for entry in entries}) > 1
        busy_s = queue.served_at - began
        queue.batches += 1
        queue.items += len(entries)
        queue.mixed += mixed
        queue.busy_s += busy_s
        if queue.ooms == ooms:
            queue.learn(len(entries), busy_s)
            _recover(queue, len(entries))
        if self._on_batch is not None:
            waited_s = began - entries[0].since
            name, top = queue.engine.name, queue.engine.max_batch
            self._on_batch(
                BatchReport(name, len(entries), top, mixed, queue.ooms - ooms, waited_s, busy_s)
            )
        return alive

    def _run(self, queue: _Queue, entries: list[_Item]) -> bool:
        """Give every entry a result or an error; halves the batch to keep errors small."""
        try:
            results = queue.engine.run([entry.value for entry in entries])
            if len(results) != len(entries):
                raise LaneError(
                    f"engine {queue.engine.name!r} gave {len(results)} results for "
                    f"{len(entries)} items"
                )
        except Exception as error:  # noqa: BLE001 - border of a batch: the futures carry it on
            fault = classify(error)
            if fault is Fault.DEAD:
                self._die(str(error))
                return False
            if fault is Fault.MEMORY:
                return self._after_oom(queue, entries, forget(error))
            return self._after_error(queue, entries, error)
        for entry, result in zip(entries, results, strict=True):
            entry.future.set_result(result)
        return True

    def _after_oom(self, queue: _Queue, entries: list[_Item], error: BaseException) -> bool:
        queue.ooms += 1
        queue.good_batches = 0
        self._free_memory()
        if len(entries) > 1:
            queue.limit = max(1, min(queue.limit, len(entries) // 2))
            return self._run_halves(queue, entries)
        return self._retry_single(queue, entries[0], error)

    def _retry_single(self, queue: _Queue, entry: _Item, error: BaseException) -> bool:
        """One more try with the cache emptied; then this item fails, alone."""
        try:
            results = queue.engine.run([entry.value])
            entry.future.set_result(results[0])
        except Exception as again:  # noqa: BLE001 - border of a batch
            if classify(again) is Fault.DEAD:
                self._die(str(again))
                return False
            queue.failed += 1
            entry.future.set_exception(forget(again) if classify(again) is Fault.MEMORY else again)
            self._free_memory()
        return True

    def _after_error(self, queue: _Queue, entries: list[_Item], error: Exception) -> bool:
        if len(entries) > 1:
            return self._run_halves(queue, entries)
        queue.failed += 1
        entries[0].future.set_exception(error)
        return True

    def _run_halves(self, queue: _Queue, entries: list[_Item]) -> bool:
        half = len(entries) // 2
        return self._run(queue, entries[:half]) and self._run(queue, entries[half:])

    def _die(self, reason: str) -> None:
        with self._changed:
            self._open = False
        if self._on_dead is not None:
            self._on_dead(reason)


def _choose(ready: Sequence[_Queue], now: float) -> _Queue:
    """The longest starving queue, or else the first by priority, then by age."""
    starving = [queue for queue in ready if queue.starving(now)]
    if starving:
        return min(starving, key=lambda queue: max(queue.served_at, queue.waiting[0].since))
    return min(ready, key=lambda queue: (queue.engine.priority, queue.waiting[0].since))


def _room(queue: _Queue, ready: Sequence[_Queue]) -> int:
    """Items of the next batch: few while work of a higher priority waits for it."""
    first = min(ready, key=lambda each: each.engine.priority)
    if first.engine.priority >= queue.engine.priority:
        return queue.limit
    slice_s = max(SLICE_S, first.item_s)
    return max(1, min(queue.limit, int(slice_s / queue.item_s) if queue.item_s else 1))


def _take(queue: _Queue, room: int) -> list[_Item]:
    """Up to `room` items off the queue; cancelled ones are dropped."""
    taken: list[_Item] = []
    while queue.waiting and len(taken) < room:
        entry = queue.waiting.popleft()
        if entry.future.set_running_or_notify_cancel():
            taken.append(entry)
    return taken


def _recover(queue: _Queue, size: int) -> None:
    """Raise a lowered limit by a quarter after many full batches."""
    top = queue.engine.max_batch
    if queue.limit >= top or size < queue.limit:
        return
    queue.good_batches += 1
    if queue.good_batches >= RECOVER_AFTER:
        queue.good_batches = 0
        queue.limit = min(top, queue.limit + max(1, queue.limit // 4))
