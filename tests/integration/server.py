"""Starts a real server for a test: start_server(env) → an object to ask, signal and stop.

Free ports, a DATA_DIR of its own, short timeouts. The environment passes through otherwise, so
that coverage sees the server's processes. Use it in a `with`, or call stop().
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

import app_production

ROOT = Path(__file__).resolve().parents[2]
FAKE_APP = "tests.integration.fake_app:app"
REAL_APP = "app_server:app"
READY_S = 60.0

_DEFAULTS = {
    "HOST": "127.0.0.1",
    "OPS_HOST": "127.0.0.1",
    "GRACEFUL_TIMEOUT_S": "8",
    "BOOT_TIMEOUT_S": "60",
    "LEASE_TIMEOUT_S": "30",
    "LOG_LEVEL": "info",
    "DEVICE": "auto",
    "PYTHONUNBUFFERED": "1",
}


def free_port() -> int:
    """A TCP port that is free now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@dataclass
class Answer:
    """An HTTP answer."""

    status: int
    body: bytes
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def get(url: str, timeout_s: float = 10.0, headers: Mapping[str, str] | None = None) -> Answer:
    """GET `url`; any status is an answer."""
    began = time.monotonic()
    request = urllib.request.Request(url, headers=dict(headers or {}))  # noqa: S310 - our own URLs
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as reply:  # noqa: S310
            body, status, got = reply.read(), reply.status, dict(reply.headers)
    except urllib.error.HTTPError as error:
        with error:
            body, status, got = error.read(), error.code, dict(error.headers)
    return Answer(status, body, time.monotonic() - began, got)


@dataclass
class Server:
    """A running server. `log` is all it has written so far."""

    process: subprocess.Popen[bytes]
    base_url: str
    ops_url: str
    port: int
    ops_port: int
    data_dir: Path
    log_path: Path
    _temporary: tempfile.TemporaryDirectory[str]

    @property
    def pid(self) -> int:
        """The master's process id (the only process, under Flask alone)."""
        return self.process.pid

    @property
    def log(self) -> str:
        """Everything on stdout and stderr so far."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def worker_pids(self) -> list[int]:
        """The workers' process ids, oldest first."""
        try:
            children = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []
        alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
        return [child.pid for child in sorted(alive, key=lambda child: child.create_time())]

    @property
    def worker_pid(self) -> int:
        """The one worker's process id; waits for it."""
        return int(self.wait(lambda: self.worker_pids, "a worker")[-1])

    def get(self, path: str, timeout_s: float = 10.0, **headers: str) -> Answer:
        """GET a path of the main listener."""
        return get(self.base_url + path, timeout_s, headers)

    def ops(self, path: str, timeout_s: float = 10.0) -> Answer:
        """GET a path of the ops listener."""
        return get(self.ops_url + path, timeout_s)

    def health(self, timeout_s: float = 5.0) -> dict[str, Any]:
        """/health of the main listener; {} while nobody answers."""
        try:
            answer: dict[str, Any] = self.get("/health", timeout_s).json
        except (OSError, ValueError, http.client.HTTPException):
            return {}  # a worker that is killed in mid-answer leaves an IncompleteRead
        return answer

    def wait(
        self, what: Callable[[], Any], name: str, timeout_s: float = READY_S, every_s: float = 0.05
    ) -> Any:
        """Wait until `what()` is true and return it; fails with the log."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if value := what():
                return value
            time.sleep(every_s)
        raise AssertionError(f"no {name} within {timeout_s} s; the log:\n{self.log}")

    def wait_ready(
        self, timeout_s: float = READY_S, *, not_pid: int | None = None
    ) -> dict[str, Any]:
        """Wait until /health says ready (from another process than `not_pid`)."""

        def ready() -> dict[str, Any]:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended; the log:\n{self.log}")
            health = self.health()
            good = health.get("status") == "ready" and health["worker_pid"] != not_pid
            return health if good else {}

        health: dict[str, Any] = self.wait(ready, "readiness", timeout_s)
        return health

    def wait_log(self, text: str, timeout_s: float = READY_S) -> str:
        """Wait until the log holds `text`."""
        self.wait(lambda: text in self.log, f"{text!r} in the log", timeout_s)
        return self.log

    def signal(self, number: int, pid: int | None = None) -> None:
        """Send a signal to the master, or to `pid`."""
        os.kill(pid or self.pid, number)

    def wait_exit(self, timeout_s: float = 30.0) -> int:
        """Wait for the master's end; its exit code."""
        return self.process.wait(timeout_s)

    def stop(self) -> int:
        """SIGTERM, wait, clear up; the exit code. SIGKILL to what is left after 30 s."""
        family = self._family()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        _, left = psutil.wait_procs(family, timeout=10)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._temporary.cleanup()
        return code

    def _family(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            sys.stderr.write(f"\nThe server's log:\n{self.log}\n")
        self.stop()


def start_server(
    env: Mapping[str, str] | None = None,
    *,
    app: str = REAL_APP,
    args: Sequence[str] = (),
    command: Sequence[str] | None = None,
    ready: bool = True,
    ready_s: float = READY_S,
    cwd: Path = ROOT,
) -> Server:
    """Start Gunicorn with gunicorn.conf.py and wait until it is ready.

    Args:
        env: settings on top of short timeouts and free ports.
        app: what to serve; FAKE_APP has the real lifecycle and fake models and jobs.
        args: more options for Gunicorn.
        command: another command line instead of Gunicorn's, e.g. [python, "app_server.py"].
        ready: False returns at once.
        ready_s: how long to wait.
        cwd: the folder it is started in.
    """
    temporary = tempfile.TemporaryDirectory(prefix="server-")
    folder = Path(temporary.name)
    port, ops_port = free_port(), free_port()
    settings = {
        **os.environ,
        **_DEFAULTS,
        "PORT": str(port),
        "OPS_PORT": str(ops_port),
        "DATA_DIR": str(folder / "data"),
        **(env or {}),
    }
    Path(settings["DATA_DIR"]).mkdir(parents=True, exist_ok=True)
    line = command or app_production.command(list(args), app)
    log_path = folder / "log.txt"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            list(line), cwd=cwd, env=settings, stdout=log, stderr=subprocess.STDOUT
        )
    server = Server(
        process,
        f"http://127.0.0.1:{port}",
        f"http://127.0.0.1:{ops_port}",
        port,
        ops_port,
        Path(settings["DATA_DIR"]),
        log_path,
        temporary,
    )
    if ready:
        try:
            server.wait_ready(ready_s)
        except BaseException:
            server.stop()
            raise
    return server


def kill_now(pid: int) -> None:
    """SIGKILL."""
    os.kill(pid, signal.SIGKILL)
