"""Memory and limits of this process's surroundings: RAM, container, /dev/shm, open files.

What it is not: the GPU's memory (driver.py). The standard library only.
"""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path

from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import Look

_MIB = 1024**2
_GIB = 1024**3
# A worker with the embedded models takes 0.6 GiB, and a job of 1080p about as much again.
_LEAST_BYTES = 2 * _GIB
_LEAST_SHM_BYTES = 32 * _MIB
_LEAST_FILES = 1024
_SHM = Path("/dev/shm")  # noqa: S108 - looked at, nothing is made there
_MEMINFO = Path("/proc/meminfo")
#: Limit and use of a container, by the second and the first kind of control groups.
GROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def check(_look: Look) -> Iterator[Finding]:
    """Compare each with what a worker needs."""
    free = available(_MEMINFO.read_text(encoding="utf-8"))
    limits = [left for limit, used in GROUPS if (left := left_in(limit, used)) is not None]
    least = min([free, *limits])
    if least < _LEAST_BYTES:
        whose = "in this container" if least != free else "on this machine"
        yield found("memory-low", f"{least / _GIB:.1f} GiB of memory are free {whose}")
    yield from shared(_SHM)
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files != resource.RLIM_INFINITY and files < _LEAST_FILES:
        yield found("files-few", f"{files} open files are allowed")
    yield nice(f"{least / _GIB:.1f} GiB free, {os.cpu_count()} cores, {files} open files allowed")


def available(meminfo: str) -> int:
    """Bytes that programs may take, from the text of /proc/meminfo."""
    lines = (line.split() for line in meminfo.splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == "MemAvailable:")


def left_in(limit: Path, used: Path) -> int | None:
    """Bytes that a control group may still take; None where there is no limit."""
    try:
        return int(limit.read_text()) - int(used.read_text())
    except (OSError, ValueError):  # "max" is no number
        return None


def shared(folder: Path) -> Iterator[Finding]:
    """Shared memory."""
    if not os.access(folder, os.W_OK):
        yield found("shm-small", f"{folder} is not there, or cannot be written")
        return
    usage = shutil.disk_usage(folder)
    if usage.free < _LEAST_SHM_BYTES:
        text = f"{usage.free / _MIB:.0f} of {usage.total / _MIB:.0f} MiB are free in {folder}"
        yield found("shm-small", text)
