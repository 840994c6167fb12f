"""What every route works with, and how a view reaches it.

What it is not: state of its own beside the count of open event streams.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import cast

from flask import current_app

from server.jobs.files import JobFiles
from server.jobs.store import JobStore
from server.settings import Settings
from server.state import Phase, WorkerState
from server.texts import Texts

_KEY = "mouthpiece"


class Seats:
    """A fixed number of places; taking one never waits."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = threading.Semaphore(count)

    def take(self) -> bool:
        """Whether there was a free place; it is the caller's then."""
        return self._free.acquire(blocking=False)

    def leave(self) -> None:
        """Give a place back."""
        self._free.release()


@dataclass(frozen=True)
class Service:
    """The parts that routes read and write."""

    settings: Settings
    state: WorkerState
    store: JobStore
    files: JobFiles
    streams: Seats
    texts: Texts = field(default_factory=Texts)

    @property
    def draining(self) -> bool:
        """Whether this worker ends soon."""
        return self.state.draining.is_set() or self.state.phase is Phase.DRAINING


def attach(service: Service, extensions: dict[str, object]) -> None:
    """Hang the service on an app."""
    extensions[_KEY] = service


def service() -> Service:
    """The service of the app that handles this request. Only views call this."""
    return cast(Service, current_app.extensions[_KEY])
