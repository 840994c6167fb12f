"""A trial: the real server, with these settings, on free ports and an empty data folder.

What it is not: a test of jobs. It shows that the master stays clean, that workers load their models
once and become ready, and that they end when told. Where a server of this DATA_DIR runs, that one
is looked at instead: a second one would need the GPU's memory twice.
"""

from __future__ import annotations

import contextlib
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

import app_production
from scripts.doctor.checks.ports import ask
from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import ROOT, Look
from server.settings import child_environment, load_settings

#: Libraries that must not be in the master, as their files are called.
HEAVY = ("torch", "onnxruntime", "cv2", "libcuda.so", "libcudart", "tensorflow", "jaxlib", "cupy")
_LOCAL = "127.0.0.1"
_POLL_S = 0.2
_SPARE_S = 10.0
_MOST_S = 300.0
_LOADING = re.compile(r"loading models.*?pid[^0-9]*([0-9]+)|pid[^0-9]*([0-9]+).*?loading models")
_REASON = re.compile(r"(?:Reason|refused to start): (.*)")


@dataclass(frozen=True)
class Trial:
    """A server that was started to be looked at."""

    process: subprocess.Popen[bytes]
    port: int
    log_path: Path

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")


def check(look: Look) -> Iterator[str | Finding]:
    """Start it, look, end it."""
    running = look.facts.get("running")
    if running:
        master = psutil.Process(int(running)).parent()
        if master is not None:
            yield from masters_libraries(master.pid, look.python)
        yield nice(f"not started: the server runs already (worker {running})")
        return
    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="doctor-", ignore_cleanup_errors=True) as folder:
        trial = start(look, Path(folder))
        try:
            yield "the start of the server"
            limit_s = min(_MOST_S, settings.boot_timeout_s + _SPARE_S)
            health = wait_ready(trial, limit_s)
            yield from judge(trial, health, limit_s, look)
            yield "the end of the server"
            if trial.process.poll() is None:
                yield from end(trial, settings.graceful_timeout_s)
        finally:
            with contextlib.suppress(ProcessLookupError):
                trial.process.kill()
            trial.process.wait()


def start(look: Look, folder: Path) -> Trial:
    """Start the server as app_production.py does; only ports and folders are its own."""
    port, ops_port = free_port(), free_port()
    address = f"{_LOCAL}:{port}"
    environment = child_environment(
        HOST=_LOCAL,
        PORT=str(port),
        GUNICORN_BIND="",
        OPS_HOST=_LOCAL,
        OPS_PORT=str(ops_port),
        DATA_DIR=str(folder / "data"),
        DATABASE_URL="",
        LOG_FORMAT="console",
        LOG_LEVEL="info",
        PYTHONUNBUFFERED="1",
    )
    line = app_production.command([*look.arguments, "--bind", address])
    line[line.index(str(ROOT / "gunicorn.conf.py"))] = look.config
    log_path = folder / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(line, env=environment, stdout=log, stderr=subprocess.STDOUT)
    return Trial(process, port, log_path)


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as sock:
        sock.bind((_LOCAL, 0))
        return int(sock.getsockname()[1])


def wait_ready(trial: Trial, limit_s: float) -> dict[str, Any]:
    """What /health says when all workers are ready; {} when that does not come about."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline and trial.process.poll() is None:
        health = ask(_LOCAL, trial.port)
        workers = health.get("workers", [])
        if health.get("status") == "ready" and all(one["status"] == "ready" for one in workers):
            return health
        time.sleep(_POLL_S)
    return {}


def judge(trial: Trial, health: dict[str, Any], limit_s: float, look: Look) -> Iterator[Finding]:
    """What the started server shows."""
    code = trial.process.poll()
    if code is not None:
        yield found("server-refused", f"exit code {code}: {reason(trial.log)}")
        return
    heavy = list(masters_libraries(trial.process.pid, look.python))
    yield from heavy
    if not health:
        text = f"not ready within {limit_s:g} s; its last line: {last_line(trial.log)}"
        yield found("server-not-ready", text)
        return
    loads = loads_by_worker(trial.log)
    for pid, count in loads.items():
        if count > 1:
            yield found("models-twice", f"worker {pid} loaded its models {count} times")
    if not heavy:
        models = [name for name, word in health["models"].items() if word == "ready"]
        yield nice(
            f"a server started here is ready on {health['device_name']}: master without"
            f" {', '.join(HEAVY[:3])}, {', '.join(models)} loaded once"
        )


def masters_libraries(pid: int, python: str) -> Iterator[Finding]:
    """A finding where a master has loaded what it must not."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")
    except OSError:
        return  # it is gone, or another user's
    found_ones = [name for name in HEAVY if re.search(rf"/{re.escape(name)}[^/]*(/|$)", maps, re.M)]
    if found_ones:
        text = f"the master has {', '.join(found_ones)} in its memory"
        yield found("master-heavy", text, python=python)


def loads_by_worker(log: str) -> dict[str, int]:
    """How often each worker began to load its models, from the log."""
    counts: dict[str, int] = {}
    for line in log.splitlines():
        if known := _LOADING.search(line):
            pid = known[1] or known[2]
            counts[pid] = counts.get(pid, 0) + 1
    return counts


def reason(log: str) -> str:
    """Why a server ended, by its own words."""
    said = _REASON.findall(log)
    return said[-1].strip() if said else last_line(log)


def last_line(log: str) -> str:
    """The last line of a log that says something."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return lines[-1] if lines else "it wrote nothing"


def end(trial: Trial, graceful_s: float) -> Iterator[Finding]:
    """Tell it to end, and see that it does."""
    trial.process.send_signal(signal.SIGTERM)
    try:
        trial.process.wait(graceful_s + _SPARE_S)
    except subprocess.TimeoutExpired:
        yield found("server-stop", f"it runs still {graceful_s + _SPARE_S:g} s after SIGTERM")
