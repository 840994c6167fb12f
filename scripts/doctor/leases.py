"""The locks of devices in DATA_DIR/run, looked at without keeping one.

What it is not: server/lease.py, which takes them and makes the file where there is none.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Held:
    """A device that a process owns. `pid` is what the owner wrote; empty when it wrote nothing."""

    device: str
    pid: str
    path: Path

    @property
    def command(self) -> str:
        """The owner's command line; empty when it is gone or not ours to see."""
        try:
            line = Path(f"/proc/{int(self.pid)}/cmdline").read_bytes()
        except (OSError, ValueError):
            return ""
        return line.replace(b"\0", b" ").decode(errors="replace").strip()[:80]


def held(data_dir: Path) -> Iterator[Held]:
    """The devices whose lock is held now."""
    for path in sorted((data_dir / "run").glob("device-*.lock")):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(fd, 32).decode(errors="replace").strip()
            yield Held(path.stem.removeprefix("device-"), owner, path)
        finally:
            os.close(fd)
