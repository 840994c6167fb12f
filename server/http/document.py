"""The OpenAPI document: what APIFlask cannot know by itself is added here.

What it is not: a second description of routes. They carry their own with `@bp.output` and
`@bp.doc`; a test compares the document with real answers.
"""

from __future__ import annotations

from typing import Any

from apiflask import APIFlask
from pydantic import BaseModel

from server.http.shapes import ErrorBody
from server.http.textshapes import ChatCompletion, Completion

BODY_KEY = "x-request-body"
ResponseDoc = dict[str, str | dict[str, dict[str, Any]]]
Responses = dict[int | str, ResponseDoc]
# Shapes that routes name in `responses`, not by `@bp.output`.
_SHAPES: tuple[type[BaseModel], ...] = (ErrorBody, Completion, ChatCompletion)
_ERROR_REF = {"$ref": "#/components/schemas/ErrorBody"}
_MEANING = {
    400: "The request cannot be understood or has a value that is not allowed.",
    401: "API_KEY is set and the request does not carry it.",
    404: "There is no such thing, or not yet.",
    409: "The key or code belongs to another request.",
    413: "The body is larger than MAX_UPLOAD_BYTES.",
    415: "The Content-Type is not one that is read here.",
    416: "The range lies outside the file.",
    429: "Too many wait already; Retry-After says when to come back.",
    500: "The server failed.",
    503: "The server cannot take this now; Retry-After says when to come back.",
    507: "The disk is too full.",
}

UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["audio"],
                "anyOf": [{"required": ["video"]}, {"required": ["input_reference"]}],
                "properties": {
                    "video": {"type": "string", "format": "binary", "description": "The face."},
                    "input_reference": {
                        "type": "string",
                        "format": "binary",
                        "description": "The same under OpenAI's name; a picture is fine.",
                    },
                    "audio": {"type": "string", "format": "binary", "description": "The voice."},
                    "model": {
                        "type": "string",
                        "description": "A lip-sync model; GET /v1/models lists them.",
                    },
                    "loop": {
                        "type": "string",
                        "enum": ["pingpong", "restart"],
                        "default": "pingpong",
                        "description": "What a video shorter than the recording does.",
                    },
                    "restore": {
                        "type": "boolean",
                        "default": False,
                        "description": "Sharpen the face; `note` says when there is no restorer.",
                    },
                    "watermark": {
                        "type": "boolean",
                        "default": False,
                        "description": "Draw WATERMARK_TEXT onto every frame.",
                    },
                },
            }
        }
    },
}

EASY_BODY: dict[str, Any] = {
    "required": True,
    "description": "Read as JSON whatever the Content-Type.",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["audio_url", "video_url", "code"],
                "properties": {
                    "audio_url": {"type": "string"},
                    "video_url": {"type": "string"},
                    "code": {"type": "string"},
                    "chaofen": {"type": ["integer", "string"], "default": 0},
                    "watermark_switch": {"type": ["integer", "string"], "default": 0},
                    "digital_auth": {"type": ["integer", "string"], "default": 0},
                    "pn": {"type": ["integer", "string"], "default": 1},
                },
            }
        }
    },
}


def refusals(*statuses: int) -> Responses:
    """Responses with the one error body."""
    return {
        status: {
            "description": _MEANING[status],
            "content": {"application/json": {"schema": _ERROR_REF}},
        }
        for status in statuses
    }


def answers(own: Responses, *errors: int) -> Responses:
    """A route's own responses beside those with the error body."""
    return {**own, **refusals(*errors)}


def media(description: str, *types: str) -> ResponseDoc:
    """A response that is not JSON."""
    schema = {"schema": {"type": "string", "format": "binary"}}
    return {"description": description, "content": dict.fromkeys(types, schema)}


def unwell(shape: str) -> Responses:
    """The 503 of a worker that cannot work, in the shape of its good answer."""
    schema = {"schema": {"$ref": f"#/components/schemas/{shape}"}}
    text = "The worker cannot do its work; the body, of the same shape, says why."
    return {503: {"description": text, "content": {"application/json": schema}}}


def json_or_events(shape: str) -> ResponseDoc:
    """A response of this shape, or the stream of its chunks."""
    return {
        "description": "The answer; with `stream`, events that end with `data: [DONE]`.",
        "content": {
            "application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}},
            "text/event-stream": {"schema": {"type": "string"}},
        },
    }


def install(app: APIFlask, open_endpoints: frozenset[str], *, keyed: bool) -> None:
    """Configure the document. `open_endpoints` need no key."""
    app.config.update(
        OPENAPI_VERSION="3.1.0",
        AUTO_OPERATION_ID=True,
        AUTO_404_RESPONSE=False,
        AUTO_VALIDATION_ERROR_RESPONSE=False,
        AUTO_SERVERS=False,
        VALIDATION_ERROR_STATUS_CODE=400,
        SYNC_LOCAL_SPEC=False,
    )
    if keyed:
        app.config["SECURITY_SCHEMES"] = {
            "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
    open_ids = {endpoint.replace(".", "_") for endpoint in open_endpoints}

    @app.spec_processor
    def complete(document: dict[Any, Any] | str) -> dict[Any, Any] | str:
        if isinstance(document, str):  # YAML, which is not configured
            return document
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for shape in _SHAPES:
            schemas.update(_flat(shape))
        for path in document["paths"].values():
            for operation in path.values():
                _complete(operation, open_ids, keyed=keyed)
        return document


def _flat(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
    nested = schema.pop("$defs", {})
    return {**nested, model.__name__: schema}


def _complete(operation: dict[str, Any], open_ids: set[str], *, keyed: bool) -> None:
    body = operation.pop(BODY_KEY, None)
    if body is not None:
        operation["requestBody"] = body
    easy = "easy" in operation.get("tags", [])
    if not easy:
        for status, response in refusals(500).items():
            operation["responses"].setdefault(str(status), response)
    endpoint = operation["operationId"].split("_", 1)[1]
    if keyed and endpoint not in open_ids:
        operation["security"] = [{"key": []}, {"bearer": []}]
        if not easy:
            operation["responses"].setdefault("401", refusals(401)[401])
