"""The ops listener: answers probes and metrics from threads of its own, outside the request pool.

What it is not: a web server for the world. It reads heads of small GET requests in one selecting
thread, so that a client that sends half a request costs a buffer and not a thread; whole requests
are answered by a few native threads, one request per connection.
"""

from __future__ import annotations

import io
import selectors
import socket
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

import structlog

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

_HEAD_BYTES = 8192
_HEAD_S = 3.0
_WRITE_S = 5.0
_MAX_CONNECTIONS = 64
_THREADS = 4

_log = structlog.get_logger("server.ops")


def listen(host: str, port: int, inherited_fd: int | None = None) -> socket.socket:
    """A listening socket; the master makes it, so that a busy port is said at start and every
    worker inherits it.

    Raises:
        OSError: the address cannot be used.
    """
    if inherited_fd is not None:
        return socket.socket(fileno=inherited_fd)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(_MAX_CONNECTIONS)
    except OSError:
        sock.close()
        raise
    return sock


@dataclass(eq=False)
class _Connection:
    """A client whose request head is not complete yet."""

    sock: socket.socket
    deadline: float
    data: bytearray = field(default_factory=bytearray)


class BadRequestError(ValueError):
    """The request head cannot be used; `status` is the answer."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


class OpsServer:
    """Serves a WSGI app on a listening socket until `stop`."""

    def __init__(self, sock: socket.socket, app: WSGIApplication) -> None:
        self._listener = sock
        self._app = app
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="ops")
        self._stopping = threading.Event()
        self._wake_read, self._wake_write = socket.socketpair()
        self._thread = threading.Thread(target=self._select, name="ops-select", daemon=True)
        self._waiting: list[_Connection] = []

    def start(self) -> None:
        """Begin to answer."""
        self._listener.setblocking(False)
        self._thread.start()

    def stop(self) -> None:
        """End; an answer being written is finished."""
        self._stopping.set()
        self._wake_write.send(b"x")
        self._thread.join(timeout=5)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._wake_write.close()

    def _select(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ, None)
            selector.register(self._wake_read, selectors.EVENT_READ, None)
            while not self._stopping.is_set():
                for key, _ in selector.select(timeout=0.5):
                    if isinstance(key.data, _Connection):
                        self._read(selector, key.data)
                    elif key.fileobj is self._listener:
                        self._accept(selector)
                self._drop_slow(selector)
            for connection in self._waiting:
                connection.sock.close()
        self._wake_read.close()

    def _accept(self, selector: selectors.BaseSelector) -> None:
        try:
            sock, _ = self._listener.accept()
        except OSError:  # another worker took it, or the client left
            return
        if len(self._waiting) >= _MAX_CONNECTIONS:
            self._forget(selector, self._waiting[0]).close()
        sock.setblocking(False)
        connection = _Connection(sock, time.monotonic() + _HEAD_S)
        self._waiting.append(connection)
        selector.register(sock, selectors.EVENT_READ, connection)

    def _read(self, selector: selectors.BaseSelector, connection: _Connection) -> None:
        try:
            data = connection.sock.recv(_HEAD_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        connection.data += data
        whole = b"\r\n\r\n" in connection.data
        if data and not whole and len(connection.data) < _HEAD_BYTES:
            return
        sock = self._forget(selector, connection)
        if whole or data:
            self._pool.submit(self._answer, sock, bytes(connection.data))
        else:
            sock.close()

    def _forget(self, selector: selectors.BaseSelector, connection: _Connection) -> socket.socket:
        selector.unregister(connection.sock)
        self._waiting.remove(connection)
        return connection.sock

    def _drop_slow(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        while self._waiting and self._waiting[0].deadline <= now:
            self._forget(selector, self._waiting[0]).close()

    def _answer(self, sock: socket.socket, data: bytes) -> None:
        with sock:
            sock.settimeout(_WRITE_S)
            try:
                sock.sendall(self._respond(data))
                sock.shutdown(socket.SHUT_WR)
            except OSError:  # the client left
                return

    def _respond(self, data: bytes) -> bytes:
        try:
            environ = _environ(data, self._listener.getsockname())
        except BadRequestError as error:
            return _response(error.status, [], b"")
        try:
            return _run(self._app, environ)
        except Exception:  # noqa: BLE001 - border of a request
            _log.exception("ops request failed", path=environ["PATH_INFO"])
            return _response("500 Internal Server Error", [], b"")


def _environ(data: bytes, name: tuple[Any, ...]) -> dict[str, Any]:
    """The WSGI environment (PEP 3333) of a request head."""
    if b"\r\n\r\n" not in data:
        raise BadRequestError("431 Request Header Fields Too Large")
    head = data.split(b"\r\n\r\n", 1)[0].decode("latin-1").split("\r\n")
    parts = head[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1.") or not parts[1].startswith("/"):
        raise BadRequestError("400 Bad Request")
    if parts[0] not in ("GET", "HEAD"):
        raise BadRequestError("405 Method Not Allowed")
    path, _, query = parts[1].partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": parts[0],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "SERVER_NAME": str(name[0]),
        "SERVER_PORT": str(name[1]),
        "SERVER_PROTOCOL": parts[2],
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for line in head[1:]:
        key, _, value = line.partition(":")
        environ["HTTP_" + key.strip().upper().replace("-", "_")] = value.strip()
    return environ


def _run(app: WSGIApplication, environ: dict[str, Any]) -> bytes:
    """The whole answer of the app."""
    started: list[Any] = ["500 Internal Server Error", []]

    def start_response(status: str, headers: list[tuple[str, str]], _exc: Any = None) -> Any:
        started[:] = [status, headers]
        return None

    starter: StartResponse = start_response
    chunks: Iterable[bytes] = app(environ, starter)
    try:
        body = b"".join(chunks)
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()
    status, headers = started
    return _response(status, headers, b"" if environ["REQUEST_METHOD"] == "HEAD" else body)


def _response(status: str, headers: list[tuple[str, str]], body: bytes) -> bytes:
    names = {name.lower() for name, _ in headers}
    extra = [] if "content-length" in names else [("Content-Length", str(len(body)))]
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in [*headers, *extra])]
    return ("\r\n".join([*lines, "Connection: close"]) + "\r\n\r\n").encode("latin-1") + body
