"""The watchdog: says when the worker should be replaced, by memory or by finished jobs.

What it is not: the replacement; the lifecycle drains and ends the process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from server.settings import Settings

_MIB = 1024 * 1024
# A limit below what an idle worker needs must not recycle for ever at full speed.
_MIN_AGE_S = 60.0


def rss_bytes() -> int:
    """Resident memory of this process."""
    resident: int = psutil.Process().memory_info().rss
    return resident


def available_bytes() -> int:
    """Memory of the host that can be taken without swapping."""
    available: int = psutil.virtual_memory().available
    return available


class Watchdog:
    """Compares memory and finished jobs with GUNICORN_MAX_MEMORY and GUNICORN_MAX_JOBS."""

    def __init__(
        self,
        settings: Settings,
        rss: Callable[[], int] = rss_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = settings.gunicorn_max_memory * _MIB
        self._max_jobs = settings.gunicorn_max_jobs
        self._rss = rss
        self._clock = clock
        self._born = clock()

    def reason(self, finished_jobs: int) -> str:
        """Why the worker should be replaced now; empty when it should not."""
        if self._max_jobs and finished_jobs >= self._max_jobs:
            return f"{finished_jobs} jobs finished (GUNICORN_MAX_JOBS={self._max_jobs})"
        if not self._max_bytes:
            return ""
        used = self._rss()
        settled = finished_jobs > 0 or self._clock() - self._born >= _MIN_AGE_S
        if used <= self._max_bytes or not settled:
            return ""
        return f"{used // _MIB} MiB in use (GUNICORN_MAX_MEMORY={self._max_bytes // _MIB})"
