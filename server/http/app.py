"""Composes the Flask application: blueprints, errors, bodies, the key, request ids.

What it is not: the server's life (server/lifecycle.py) or any route.
"""

from __future__ import annotations

import re
import secrets
import time
from importlib.metadata import PackageNotFoundError, version
from typing import cast

import structlog
from apiflask import APIFlask
from flask import Response, g, request

from server import metrics
from server.http import (
    bodies,
    chat,
    completions,
    deep,
    document,
    easy,
    errors,
    generate,
    playback,
    probes,
    textmodels,
    videos,
)
from server.http.auth import check_key
from server.http.errors import ApiError, Problem
from server.http.service import Seats, Service, attach
from server.jobs.files import JobFiles
from server.jobs.store import JobStore
from server.settings import Settings
from server.state import WorkerState
from server.texts import Texts

OPEN_ENDPOINTS = frozenset({"probes.health", "probes.live", "probes.ready"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def create_app(
    settings: Settings,
    state: WorkerState,
    store: JobStore,
    files: JobFiles,
    texts: Texts | None = None,
) -> APIFlask:
    """The application. It only reads `state`; jobs pass through `store` and `files`, texts through
    `texts` (default: no text model).
    """
    files.make()
    app = APIFlask(
        "mouthpiece",
        title="Mouthpiece",
        version=_version(),
        docs_path=None,
        static_folder=cast(str, None),  # None switches it off, whatever the annotation says
        json_errors=False,
    )
    app.url_map.strict_slashes = False
    seats = Seats(settings.max_event_streams)
    attach(Service(settings, state, store, files, seats, texts or Texts()), app.extensions)
    bodies.install(app, files, settings.max_upload_bytes)
    errors.register(app)
    document.install(app, OPEN_ENDPOINTS, keyed=settings.api_key is not None)
    _install_hooks(app, settings)
    for blueprint in (
        videos.bp,
        playback.bp,
        easy.bp,
        generate.bp,
        completions.bp,
        chat.bp,
        textmodels.bp,
        probes.bp,
        deep.bp,
        probes.metrics_bp,
        probes.status_bp,
    ):
        app.register_blueprint(blueprint)
    return app


def _install_hooks(app: APIFlask, settings: Settings) -> None:
    @app.before_request
    def begin() -> None:
        g.began_s = time.perf_counter()
        given = request.headers.get("X-Request-Id", "")
        g.request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(16)
        structlog.contextvars.bind_contextvars(request_id=g.request_id)
        if request.endpoint not in OPEN_ENDPOINTS:
            check_key(request, settings.api_key)
        _check_length(settings)

    @app.after_request
    def mark(response: Response) -> Response:
        response.headers["x-request-id"] = g.get("request_id", "")
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        route = request.url_rule.rule if request.url_rule else "none"
        took_s = time.perf_counter() - g.began_s if "began_s" in g else None
        metrics.count_request(request.method, route, response.status_code, took_s)
        _name_lines(response)
        return response

    @app.teardown_request
    def end(_error: BaseException | None) -> None:
        if not g.get("streams"):
            _unname_lines()
        for upload in getattr(request, "uploads", ()):
            upload.drop()


def _name_lines(response: Response) -> None:
    """What is logged while a stream is written carries the request's id, too.

    A file that is handed to the server whole is never closed by Flask; it logs nothing either.
    """
    if response.is_streamed and not response.direct_passthrough:
        g.streams = True
        response.call_on_close(_unname_lines)


def _unname_lines() -> None:
    structlog.contextvars.unbind_contextvars("request_id")


def _check_length(settings: Settings) -> None:
    """Refuse a body by what it says of its length, before a byte of it is read."""
    if request.mimetype == "multipart/form-data":
        limit, name = settings.max_upload_bytes, "MAX_UPLOAD_BYTES"
    else:
        limit, name = min(bodies.JSON_MAX_BYTES, settings.max_upload_bytes), "this kind of body"
        request.max_content_length = limit
    if request.content_length is not None and request.content_length > limit:
        message = f"the body has {request.content_length} bytes; the limit ({name}) is {limit}"
        raise ApiError(Problem(413, "too_large", message))


def _version() -> str:
    try:
        return version("mouthpiece")
    except PackageNotFoundError:
        # Run from a checkout that is not installed.
        return "0.1.0"
