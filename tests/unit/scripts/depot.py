"""A small HTTP server that misbehaves as it is told."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Manner:
    """How one request is answered. `cut`: bytes of the body that go out before the connection
    ends.
    """

    status: int = 200
    cut: int | None = None
    ignore_range: bool = False
    shift: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    nameless: bool = False


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    path: str
    range: str
    if_range: str


class Depot:
    """Serves `files` by path; `manners` are used up one per request, then all is well."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.manners: list[Manner] = []
        self.asked: list[Asked] = []
        self.tag = '"v1"'
        depot = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                depot.answer(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Base address."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, call: BaseHTTPRequestHandler) -> None:
        span = call.headers.get("Range", "")
        self.asked.append(Asked(call.path, span, call.headers.get("If-Range", "")))
        manner = self.manners.pop(0) if self.manners else Manner()
        data = self.files.get(call.path)
        if data is None or manner.status != 200:
            call.send_response(404 if data is None else manner.status)
            for name, value in {**manner.headers, "Content-Length": "0"}.items():
                call.send_header(name, value)
            call.end_headers()
            return
        self._send(call, data, span, manner)

    def _send(self, call: BaseHTTPRequestHandler, data: bytes, span: str, manner: Manner) -> None:
        stale = call.headers.get("If-Range") not in (None, self.tag)
        first = int(span[6:-1]) if span and not stale and not manner.ignore_range else 0
        if first >= len(data):
            call.send_error(416)
            return
        body = data[first:]
        call.send_response(206 if first else 200)
        if first:
            begin = first + manner.shift
            call.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        if not manner.nameless:
            call.send_header("Content-Length", str(len(body)))
        if self.tag:
            call.send_header("ETag", self.tag)
        call.end_headers()
        call.wfile.write(body if manner.cut is None else body[: manner.cut])
        call.close_connection = True
