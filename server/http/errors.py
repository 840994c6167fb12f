"""Errors as answers: one body for all, one table from exception to status.

What it is not: the place that decides what is wrong. `/easy/*` has an envelope of its own
(envelope.py).
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog
from apiflask import APIFlask, HTTPError
from flask import Response, jsonify, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from server.http import envelope
from server.http.shapes import ErrorBody, ErrorInfo
from server.jobs.database import StoreError
from server.jobs.store import ConflictError, QueueFullError

log = structlog.get_logger(__name__)

FAULT_MESSAGE = "the server failed to answer; its log names this request's x-request-id"
RETRY_STORE_S = 2
RETRY_QUEUE_S = 30
# The official OpenAI client tries 409 and everything from 500 again unless told not to.
NO_RETRY = {"x-should-retry": "false"}


@dataclass(frozen=True)
class Problem:
    """The answer to a request that cannot be served."""

    status: int
    code: str
    message: str
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def type(self) -> str:
        """The family of the error, in OpenAI's words."""
        return _TYPES.get(self.status, "server_error" if self.status >= 500 else _REQUEST)


_REQUEST = "invalid_request_error"
_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """Raised by a route that knows what to answer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem


def bad_request(message: str, *, param: str | None = None, code: str = "invalid_value") -> ApiError:
    """400: the request cannot be understood or has a value that is not allowed."""
    return ApiError(Problem(400, code, message, param))


def not_found(message: str, *, code: str = "not_found") -> ApiError:
    """404: no such thing, or not yet; asking again at once does not help."""
    return ApiError(Problem(404, code, message, headers=dict(NO_RETRY)))


def _from_http(error: HTTPException) -> Problem:
    status = error.code or 500
    headers = {
        name: value
        for name, value in error.get_headers()
        if name.lower() not in ("content-type", "content-length")
    }
    return Problem(status, _code(error.name), _say(error), headers=headers)


def _say(error: HTTPException) -> str:
    if isinstance(error, NotFound):
        return f"there is no route {request.path!r}; /openapi.json lists all"
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return f"{request.method} is not allowed for {request.path}; allowed: {allowed}"
    return error.description or error.name


def _from_validation(error: HTTPError) -> Problem:
    detail = error.detail if isinstance(error.detail, dict) else {}
    for fields in detail.values():
        for param, messages in fields.items():
            text = f"{param}: {'; '.join(messages)}"
            return Problem(error.status_code, "invalid_value", text, param)
    return Problem(error.status_code, "invalid_value", error.message or "the request is not valid")


def _from_conflict(error: ConflictError) -> Problem:
    param = "Idempotency-Key" if error.field == "idempotency_key" else error.field
    return Problem(409, "conflict", str(error), param, dict(NO_RETRY))


def _from_full_queue(error: QueueFullError) -> Problem:
    return Problem(429, "queue_full", str(error), headers={"Retry-After": str(RETRY_QUEUE_S)})


def _from_store(error: StoreError) -> Problem:
    log.error("store_failed", error=str(error))
    headers = {"Retry-After": str(RETRY_STORE_S)}
    return Problem(503, "store_unavailable", f"{error}; try again", headers=headers)


def _from_os(error: OSError) -> Problem:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        log.error("disk_full", error=str(error))
        return Problem(507, "no_space", "the disk of the server is full", headers=dict(NO_RETRY))
    return _unknown(error)


def _unknown(error: Exception) -> Problem:
    log.error("request_failed", path=request.path, exc_info=error)
    return Problem(500, "internal", FAULT_MESSAGE)


# From the most special to the most general; the first that fits counts.
_TABLE: tuple[tuple[type[Exception], Callable[..., Problem]], ...] = (
    (ApiError, lambda error: error.problem),
    (HTTPError, _from_validation),
    (HTTPException, _from_http),
    (ConflictError, _from_conflict),
    (QueueFullError, _from_full_queue),
    (StoreError, _from_store),
    (OSError, _from_os),
    (Exception, _unknown),
)


def problem_of(error: Exception) -> Problem:
    """What to answer for any exception."""
    for kind, make in _TABLE:
        if isinstance(error, kind):
            return make(error)
    raise AssertionError("the table ends with Exception")


def answer(error: Exception) -> Response:
    """The response for any exception, in the manner of the path asked for."""
    problem = problem_of(error)
    if request.path.startswith(envelope.PREFIX):
        response = _easy_answer(problem)
    else:
        info = ErrorInfo(
            message=problem.message, type=problem.type, param=problem.param, code=problem.code
        )
        response = jsonify(ErrorBody(error=info).model_dump())
        response.status_code = problem.status
    response.headers.update(problem.headers)
    return response


def _easy_answer(problem: Problem) -> Response:
    own = problem.status >= 500 or problem.status == 429
    code = envelope.SYSTEM_ERROR if own else envelope.BAD_PARAMETER
    response = jsonify(envelope.refused(code, problem.message).model_dump())
    # Its clients stop polling for good at anything but 200; a missing key stays a 401.
    response.status_code = 401 if problem.status == 401 else 200
    return response


def _code(name: str) -> str:
    return name.lower().replace(" ", "_").replace("'", "")


def register(app: APIFlask) -> None:
    """Answer every exception of an app through the table."""
    for kind in (HTTPException, HTTPError, Exception):
        app.register_error_handler(kind, answer)
