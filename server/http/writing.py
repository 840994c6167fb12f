"""Texts being written for one request: queued, waited for, counted, and cancelled when the client
leaves.

What it is not: the shape of an answer (generate.py, completions.py, chat.py), or the engine.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from flask import request as flask_request

from models.text.base import TextError
from models.text.request import (
    EngineStoppedError,
    Finish,
    QueueFullError,
    TextPiece,
    TextRequest,
    TextStream,
    TokenLogprob,
)
from server import metrics
from server.http.errors import NO_RETRY, ApiError, Problem, bad_request
from server.http.intake import check_alive, check_draining
from server.http.service import Service, service
from server.native import on_hub
from server.texts import Served, TextFailedError, TextLoadingError, UnknownTextError

log = structlog.get_logger(__name__)

RETRY_S = 1
# A model on demand is loaded in about three seconds; a large checkpoint may take its time.
_LOAD_WAIT_S = 60.0
_LOOK_S = 0.05
# How long one wait for a piece lasts before the client is looked for.
_WAIT_S = 0.25
# Between looks where a native wait would stop other requests, or where there are many streams.
_NAP_S = 0.004
# A text is cut off, with a word to its client, before the worker cuts all connections.
_EARLIER_S = 4.0
_LEAST_S = 0.5
CUT_OFF = "the text was cut off: this server is ending"
_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True)
class Written:
    """One finished text. `tokens`: how many new ones; `finish`: "stop" or "length"."""

    text: str
    tokens: int
    finish: str
    logprobs: tuple[TokenLogprob, ...]


def find_served(here: Service, name: str | None) -> Served:
    """The model that a request names; waits while it is being loaded on demand.

    Raises:
        ApiError: 404, no such model; 503, it cannot be used (now).
    """
    check_alive(here)
    check_draining(here)
    until = time.monotonic() + _LOAD_WAIT_S
    line = ClientLine(flask_request.environ)
    while True:
        try:
            return here.texts.find(name)
        except UnknownTextError as error:
            headers = dict(NO_RETRY)
            raise ApiError(Problem(404, "model_not_found", str(error), "model", headers)) from error
        except TextFailedError as error:
            headers = dict(NO_RETRY)
            raise ApiError(Problem(503, "model_failed", str(error), "model", headers)) from error
        except TextLoadingError as error:
            if time.monotonic() > until or here.draining or line.gone():
                headers = _retry(RETRY_S)
                raise ApiError(
                    Problem(503, "model_loading", f"{error}; try again", "model", headers)
                ) from error
        time.sleep(_LOOK_S)


class ClientLine:
    """The connection of a request: whether its client is still there.

    A server learns that only when it writes, or by asking the socket; a client that shut its
    sending side counts as gone, as with nginx. Without a socket in the environment nobody is gone.
    """

    def __init__(self, environ: dict[str, Any]) -> None:
        sock = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        self._poll = None
        if sock is not None and hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock.fileno(), _GONE)

    def gone(self) -> bool:
        """Whether nobody is there any more. Never waits."""
        return bool(self._poll and self._poll.poll(0))


class Writing:
    """The texts of one request. Iterating gives (index, piece) as they come, or None at least
    every quarter second while there is nothing, so that a stream can send a sign of life.
    """

    def __init__(self, served: Served, requests: Sequence[TextRequest]) -> None:
        """Queue all texts, or none.

        Raises:
            ApiError: 429, too many wait; 503, the engine has stopped; 400, it refuses.
        """
        self._name = served.name
        metrics.TEXTS.labels(self._name, Finish.ERROR.value)  # 0 before the first
        self._began_s = time.monotonic()
        self._line = ClientLine(flask_request.environ)
        self._here = service()
        self._ends_s = float("inf")
        self._seen = [False] * len(requests)
        self.tokens = [0] * len(requests)
        self._streams: list[TextStream] = []
        try:
            for each in requests:
                self._streams.append(served.engine.generate(each))
        except QueueFullError as error:
            self._refuse("rejected")
            problem = Problem(429, "queue_full", str(error), headers=_retry(RETRY_S))
            raise ApiError(problem) from error
        except TextError as error:
            self._refuse("refused")
            raise bad_request(str(error)) from error
        except EngineStoppedError as error:
            self._refuse("stopped")
            raise _ending("this server is ending; try again") from error

    def __iter__(self) -> Iterator[tuple[int, TextPiece] | None]:
        looked_s = time.monotonic()
        while not all(stream.finished for stream in self._streams):
            found = False
            for index, stream in enumerate(self._streams):
                piece = self._next(stream)
                if piece is not None:
                    found = True
                    self._count(index, piece)
                    yield index, piece
            now = time.monotonic()
            if now - looked_s >= _WAIT_S:
                looked_s = now
                self._look(now)
                if not found:
                    yield None
            if not found and self._naps():
                time.sleep(_NAP_S)

    def _look(self, now: float) -> None:
        """Whether the text still has a reader and a server."""
        if self._line.gone():
            raise ClientGoneError
        if self._here.draining:
            patience_s = max(_LEAST_S, self._here.settings.graceful_timeout_s - _EARLIER_S)
            self._ends_s = min(self._ends_s, now + patience_s)
        if now >= self._ends_s:
            raise _ending(CUT_OFF)

    def collect(self) -> list[Written]:
        """Wait for the end of all texts.

        Raises:
            ApiError: one of them failed, the server ends, or the client is gone.
        """
        parts: list[list[TextPiece]] = [[] for _ in self._streams]
        try:
            for item in self:
                if item is not None:
                    parts[item[0]].append(item[1])
        except ClientGoneError:
            raise ApiError(Problem(503, "client_gone", "the client left")) from None
        finally:
            self.cancel()
        for pieces in parts:
            refuse_failed(pieces[-1])
        return [_joined(pieces) for pieces in parts]

    def cancel(self) -> None:
        """End what is not finished; its slots are free from the next step on."""
        for index, stream in enumerate(self._streams):
            if not stream.finished and not stream.cancelled:
                stream.cancel()
                self._end(index, "cancelled")

    def _naps(self) -> bool:
        return len(self._streams) > 1 or on_hub()

    def _next(self, stream: TextStream) -> TextPiece | None:
        return stream.poll(0.0 if self._naps() else _WAIT_S)

    def _count(self, index: int, piece: TextPiece) -> None:
        metrics.TEXT_TOKENS.labels(self._name).inc(piece.tokens - self.tokens[index])
        self.tokens[index] = piece.tokens
        if not self._seen[index]:
            self._seen[index] = True
            if piece.finish_reason is None:  # a text handed over whole tells no first token
                waited_s = time.monotonic() - self._began_s
                metrics.TEXT_FIRST_TOKEN_SECONDS.labels(self._name).observe(waited_s)
        if piece.finish_reason is not None:
            self._end(index, piece.finish_reason.value)

    def _end(self, index: int, outcome: str) -> None:
        metrics.TEXTS.labels(self._name, outcome).inc()

    def _refuse(self, outcome: str) -> None:
        for stream in self._streams:
            stream.cancel()
        metrics.TEXTS.labels(self._name, outcome).inc()


def refuse_failed(piece: TextPiece) -> None:
    """Raise when a text did not end as a text should.

    Raises:
        ApiError: 500 or 503.
    """
    if piece.finish_reason is Finish.ERROR:
        log.error("text_failed", why=piece.error)
        raise ApiError(Problem(500, "generation_failed", f"the text failed: {piece.error}"))
    if piece.finish_reason is Finish.CANCELLED:
        raise _ending(CUT_OFF)


def _ending(message: str) -> ApiError:
    return ApiError(Problem(503, "draining", message, headers=_retry(RETRY_S)))


def _joined(pieces: Sequence[TextPiece]) -> Written:
    last = pieces[-1]
    return Written(
        "".join(piece.text for piece in pieces),
        last.tokens,
        str(last.finish_reason.value) if last.finish_reason else "",
        tuple(entry for piece in pieces for entry in piece.logprobs),
    )


def _retry(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(round(seconds)), "retry-after-ms": str(round(seconds * 1000))}
