"""Threads in a row with bounded queues between them, that end together.

What it is not: the stages. The first exception of any stage stops all others; none is left behind.
"""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class HaltedError(Exception):
    """Another stage failed or the work was stopped; there is nothing more to do here."""


class Flow:
    """The stages of one piece of work."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._halted = False
        self._error: BaseException | None = None
        self._threads: list[threading.Thread] = []

    @property
    def halted(self) -> bool:
        """Whether the stages should end now."""
        return self._halted

    def channel(self, size: int) -> Channel[T]:
        """A queue of at most `size` items between two stages."""
        return Channel(self, self._changed, size)

    def spawn(self, name: str, stage: Callable[[], None]) -> None:
        """Run a stage in a thread of its own, with this thread's log context."""
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run, args=(self._run, stage), name=name, daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def halt(self, error: BaseException | None = None) -> None:
        """End all stages; the first error is the one that `join` raises."""
        with self._changed:
            if self._error is None and not isinstance(error, HaltedError):
                self._error = error
            self._halted = True
            self._changed.notify_all()

    def join(self) -> None:
        """Wait for all threads.

        Raises:
            BaseException: the first error of any stage.
        """
        for thread in self._threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _run(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # noqa: BLE001 - a thread's border: `join` raises it
            self.halt(error)


class Channel(Generic[T]):
    """A bounded queue: `put` waits for room, iteration ends after `close`."""

    def __init__(self, flow: Flow, changed: threading.Condition, size: int) -> None:
        self._flow = flow
        self._changed = changed
        self._size = max(1, size)
        self._items: deque[T] = deque()
        self._closed = False

    def put(self, item: T) -> None:
        """Add an item.

        Raises:
            HaltedError: the flow was halted.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._flow.halted or len(self._items) < self._size)
            if self._flow.halted:
                raise HaltedError
            self._items.append(item)
            self._changed.notify_all()

    def close(self) -> None:
        """No more items will come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._flow.halted or self._items or self._closed)
                if self._flow.halted:
                    raise HaltedError
                if not self._items:
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item

    def left(self) -> list[T]:
        """What was never taken, for cleaning up after a halt."""
        with self._changed:
            items = list(self._items)
            self._items.clear()
            return items


class Clock:
    """Adds up how long each part was busy, in seconds of wall time, over all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy_s: dict[str, float] = {}
        self._began = time.perf_counter()

    @contextmanager
    def busy(self, part: str) -> Iterator[None]:
        """Count the time of the block for `part`."""
        began = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - began
            with self._lock:
                self._busy_s[part] = self._busy_s.get(part, 0.0) + spent

    def busy_s(self) -> dict[str, float]:
        """Seconds per part so far."""
        with self._lock:
            return dict(self._busy_s)

    @property
    def wall_s(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._began
