"""Checks for tests of the ward: good, broken, crashing and hanging ones."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator

from scripts.doctor.finding import Finding, nice
from scripts.doctor.look import Look


def check(look: Look) -> Iterator[str | Finding]:
    """What it does is the first argument of the look."""
    what, *more = look.arguments
    os.write(1, b"noise on stdout\n")
    yield f"step {what}"
    if what == "crash":
        sys.stderr.write("it hurts\n")
        sys.stderr.flush()
        os.abort()
    if what == "leave":
        os._exit(4)
    if what == "hang":
        child = subprocess.Popen(["sleep", "60"])
        yield nice(str(child.pid))
        time.sleep(60)
    if what == "raise":
        raise RuntimeError("quite broken")
    if what == "import":
        raise ImportError("No module named 'flask'")
    yield nice(f"pid {os.getpid()}", quick=look.quick, more=more)
