"""Ports: who has them, and whether it is our own server."""

from __future__ import annotations

import http.server
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from scripts.doctor.checks import ports
from scripts.doctor.look import Look
from server.lease import Lease


class Health(http.server.BaseHTTPRequestHandler):
    """Answers as this process's worker would."""

    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *_: object) -> None:
        pass


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A listener on PORT, and a lease of this process in DATA_DIR."""
    lease = Lease(tmp_path / "run" / "device-cpu.lock")
    lease.acquire(1)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        monkeypatch.setenv("DATA_DIR", str(tmp_path))
        monkeypatch.setenv("HOST", "0.0.0.0")
        monkeypatch.setenv("PORT", str(listener.server_port))
        monkeypatch.setenv("OPS_PORT", "0")
        yield
        listener.shutdown()
    lease.release()


def test_the_server_of_this_data_dir_may_have_its_port(
    answering: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    health = f'{{"status": "ready", "worker_pid": 1, "workers": [{{"pid": {os.getpid()}}}]}}'
    monkeypatch.setattr(Health, "body", health.encode())
    (finding,) = ports.check(Look("python"))
    assert finding.facts == {"running": 1}


@pytest.mark.parametrize("body", [b'{"status": "ready", "worker_pid": 1}', b"[]", b"hello"])
def test_any_other_program_may_not(
    answering: None, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(Health, "body", body)
    (finding,) = ports.check(Look("python"))
    assert finding.code == "port-taken"
    assert f"process {os.getpid()}" in finding.text


def test_a_program_that_may_not_be_seen_has_no_name(
    answering: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "Process", denied)
    assert ports._owner(int(os.environ["PORT"])) == f"process {os.getpid()}"
    monkeypatch.setattr(psutil, "net_connections", lambda _kind: [])
    assert ports._owner(1) == "another user"
    monkeypatch.setattr(psutil, "net_connections", denied)
    assert ports._owner(1) == "another program"
