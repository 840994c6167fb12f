"""The container's health check, run as Docker runs it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from scripts.demo import free_ports
from tests.unit.deploy.dockerfile import ROOT

PROBE = ROOT / "deploy" / "docker" / "probe.py"


class Handler(BaseHTTPRequestHandler):
    """Answers with the status that is the path."""

    def do_GET(self) -> None:
        self.send_response(int(self.path[1:]))
        self.end_headers()
        self.wfile.write(b"in words")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def base() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def probe(*arguments: str, **environment: str) -> tuple[int, str]:
    ran = subprocess.run(
        [sys.executable, str(PROBE), *arguments],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **environment},
        check=False,
    )
    return ran.returncode, ran.stdout + ran.stderr


def test_200_is_healthy(base: str) -> None:
    assert probe(f"{base}/200") == (0, "in words\n")


def test_503_is_not_and_the_reason_is_shown(base: str) -> None:
    assert probe(f"{base}/503") == (1, "503 in words\n")


def test_a_closed_port_is_not() -> None:
    code, text = probe(f"http://127.0.0.1:{free_ports(1)[0]}/health")
    assert code == 1
    assert "refused" in text


def test_an_address_that_is_none_is_not() -> None:
    assert probe("http://127.0.0.1:/:x")[0] == 1


def test_a_proxy_of_the_environment_is_not_asked(base: str) -> None:
    assert probe(f"{base}/200", http_proxy="http://127.0.0.1:1")[0] == 0


def test_it_needs_one_address() -> None:
    assert probe() == (2, "usage: python probe.py URL\n")
