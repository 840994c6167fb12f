"""The ops listener: answers small GETs, whatever other clients do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from server import ops
from server.ops import OpsServer, listen


class Probe:
    """A WSGI app that notes what it was asked."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.closed = 0

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.seen.append(environ)
        path = environ["PATH_INFO"]
        if path == "/raise":
            raise ValueError("broken app")
        headers = [("Content-Type", "text/plain")]
        if path == "/measured":
            headers.append(("Content-Length", "2"))
        start_response("200 OK", headers)
        if path == "/closing":
            return Closing(self)
        return [b"o", b"k"]


class Closing(list[bytes]):
    def __init__(self, probe: Probe) -> None:
        super().__init__([b"ok"])
        self.probe = probe

    def close(self) -> None:
        self.probe.closed += 1


@pytest.fixture
def probe() -> Probe:
    return Probe()


@pytest.fixture
def port(probe: Probe) -> Iterator[int]:
    with listen("127.0.0.1", 0) as sock:
        server = OpsServer(sock, probe)
        server.start()
        yield sock.getsockname()[1]
        server.stop()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def ask(port: int, data: bytes) -> bytes:
    with connect(port) as sock:
        sock.sendall(data)
        parts = []
        while part := sock.recv(65536):
            parts.append(part)
        return b"".join(parts)


def test_a_get_is_answered_by_the_app_and_the_connection_closed(port: int, probe: Probe) -> None:
    answer = ask(port, b"GET /a%20b?x=1&y HTTP/1.1\r\nHost: here\r\nX-Api-Key: k\r\n\r\n")
    head, body = answer.split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 2" in head
    assert b"Connection: close" in head
    assert body == b"ok"
    environ = probe.seen[0]
    assert (environ["PATH_INFO"], environ["QUERY_STRING"]) == ("/a b", "x=1&y")
    assert (environ["HTTP_HOST"], environ["HTTP_X_API_KEY"]) == ("here", "k")


def test_head_has_the_length_and_no_body(port: int) -> None:
    head, body = ask(port, b"HEAD /measured HTTP/1.1\r\n\r\n").split(b"\r\n\r\n")
    assert head.count(b"Content-Length: 2") == 1
    assert body == b""


def test_the_app_s_iterable_is_closed(port: int, probe: Probe) -> None:
    assert ask(port, b"GET /closing HTTP/1.0\r\n\r\n").endswith(b"ok")
    assert probe.closed == 1


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST / HTTP/1.1\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 9000, b"431"),
    ],
)
def test_what_is_not_a_small_get_is_refused(port: int, request_: bytes, status: bytes) -> None:
    assert ask(port, request_).split(b" ")[1] == status


def test_an_error_of_the_app_is_a_500_and_a_log_line(port: int) -> None:
    with capture_logs() as logs:
        assert b" 500 " in ask(port, b"GET /raise HTTP/1.1\r\n\r\n")
    assert [(line["event"], line["path"]) for line in logs] == [("ops request failed", "/raise")]


def test_half_sent_heads_cost_no_thread_and_are_dropped_in_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops, "_HEAD_S", 0.5)
    slow = [connect(port) for _ in range(40)]
    for sock in slow:
        sock.sendall(b"GET /health HT")
    began = time.monotonic()
    assert b"200 OK" in ask(port, b"GET / HTTP/1.1\r\n\r\n")
    assert time.monotonic() - began < 0.2
    assert slow[0].recv(1) == b""
    for sock in slow:
        sock.close()


def test_a_head_may_come_in_pieces(port: int) -> None:
    with connect(port) as sock:
        for piece in (b"GET / HT", b"TP/1.1\r\n", b"\r\n"):
            sock.sendall(piece)
            time.sleep(0.02)
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")


def test_the_oldest_waiting_client_makes_room_for_a_new_one(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops, "_MAX_CONNECTIONS", 2)
    with connect(port) as first, connect(port) as second:
        time.sleep(0.1)
        assert b"200 OK" in ask(port, b"GET / HTTP/1.1\r\n\r\n")
        assert first.recv(1) == b""
        second.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert second.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_client_that_leaves_early_harms_nobody(port: int) -> None:
    connect(port).close()
    with connect(port) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    assert b"200 OK" in ask(port, b"GET / HTTP/1.1\r\n\r\n")


def test_stop_closes_the_clients_that_wait(probe: Probe) -> None:
    with listen("127.0.0.1", 0) as sock:
        server = OpsServer(sock, probe)
        server.start()
        with connect(sock.getsockname()[1]) as client:
            time.sleep(0.1)
            server.stop()
            assert client.recv(1) == b""
    assert "ops-select" not in [thread.name for thread in threading.enumerate()]


def test_a_busy_port_is_an_error_at_once() -> None:
    with listen("127.0.0.1", 0) as sock, pytest.raises(OSError, match="in use"):
        listen("127.0.0.1", sock.getsockname()[1])


def test_an_inherited_socket_is_taken_over() -> None:
    with listen("127.0.0.1", 0) as sock:
        name = sock.getsockname()
        with listen("ignored", 1, sock.detach()) as heir:
            assert heir.getsockname() == name
