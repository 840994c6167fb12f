"""The lease on a device: a file lock that one living process holds.

What it is not: a job's lease (server/jobs). The kernel frees it when its holder ends, however it
ends; so it is never released by hand while the process still has memory on the device.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

_POLL_S = 0.1


class LeaseError(RuntimeError):
    """Another process holds the device."""


class Lease:
    """An flock on `path`; the file holds the owner's process id, for people."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    @property
    def held(self) -> bool:
        """Whether this process is the owner."""
        return self._fd is not None

    def acquire(self, timeout_s: float, stopped: Callable[[], bool] = lambda: False) -> None:
        """Wait for the lock and take it.

        Raises:
            LeaseError: it was not free within `timeout_s`, or `stopped()` became true.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + timeout_s
        while not _try_lock(fd):
            if stopped() or time.monotonic() >= deadline:
                os.close(fd)
                raise LeaseError(
                    f"{self.path} is held by process {self.owner() or 'unknown'}: the device was"
                    f" not free within {timeout_s:g} s (LEASE_TIMEOUT_S)"
                )
            time.sleep(_POLL_S)
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        self._fd = fd

    def owner(self) -> str:
        """What the file says of its owner; empty when it says nothing."""
        try:
            return self.path.read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def release(self) -> None:
        """Give it up: only for a process that ends now or never used the device."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
