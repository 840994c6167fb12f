"""Texts as server-sent events, in the manner of OpenAI's API: chunks, errors in mid-stream, [DONE].

What it is not: the shape of a chunk; a route gives that.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence

import structlog
from flask import Response

from models.text.request import TextPiece
from server.http.errors import FAULT_MESSAGE, ApiError, Problem
from server.http.writing import ClientGoneError, Writing, refuse_failed

log = structlog.get_logger(__name__)

# A comment now and then shows proxies and the client that the server is there.
_PING_S = 5.0
DONE = "data: [DONE]\n\n"

Chunk = Callable[[int, TextPiece], str]
Closing = Callable[[], Sequence[str]]


def event(data: str) -> str:
    """One event."""
    return f"data: {data}\n\n"


def stream_response(
    writing: Writing, chunk: Chunk, opening: Sequence[str], closing: Closing
) -> Response:
    """The answer that follows a writing.

    Args:
        writing: cancelled when the client leaves or the answer is closed.
        chunk: the JSON of a piece of a choice.
        opening: events before the first piece.
        closing: events after the last one, before [DONE].
    """
    response = Response(
        _events(writing, chunk, opening, closing),
        mimetype="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )
    response.call_on_close(writing.cancel)
    return response


def _events(
    writing: Writing, chunk: Chunk, opening: Sequence[str], closing: Closing
) -> Iterator[str]:
    try:
        yield from opening
        yield from _pieces(writing, chunk)
        yield from closing()
        yield DONE
    except ClientGoneError:
        log.info("client_gone")
    except ApiError as error:
        yield _failure(error.problem)
        yield DONE
    except Exception:
        log.exception("stream_failed")
        yield _failure(Problem(500, "internal", FAULT_MESSAGE))
        yield DONE
    finally:
        writing.cancel()


def _pieces(writing: Writing, chunk: Chunk) -> Iterator[str]:
    written_s = time.monotonic()
    for item in writing:
        now = time.monotonic()
        if item is None:
            if now - written_s >= _PING_S:
                written_s = now
                yield ": ping\n\n"
            continue
        index, piece = item
        refuse_failed(piece)
        if piece.text or piece.logprobs or piece.finish_reason is not None:
            written_s = now
            yield event(chunk(index, piece))


def _failure(problem: Problem) -> str:
    info = {
        "message": problem.message,
        "type": problem.type,
        "param": problem.param,
        "code": problem.code,
    }
    return event(json.dumps({"error": info}))
