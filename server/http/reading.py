"""JSON bodies of text routes: read, checked against their shape, refused with field, value and what
is allowed.

What it is not: strict JSON itself (bodies.py), or what fields mean (prompts.py).
"""

from __future__ import annotations

from typing import Any, TypeVar

from flask import request
from pydantic import BaseModel, ValidationError

from server.http.bodies import parse_json
from server.http.errors import ApiError, bad_request

Body = TypeVar("Body", bound=BaseModel)

_SHOWN = 60
# Fields with several types: pydantic would report on each of them.
_ALLOWED = {
    "prompt": "a text, a list of texts, a list of token ids, or a list of such lists",
    "stop": "a text, or up to four texts, of 1 to 256 characters",
    "content": "a text, or a list of parts of type text",
}


def read_body(kind: type[Body]) -> Body:
    """The body of this request, whatever its Content-Type says.

    Raises:
        ApiError: 400 for the first field that is not allowed.
    """
    value = parse_json(request.get_data())
    if not isinstance(value, dict):
        raise bad_request(f"the body must be a JSON object, not {shown(value)}")
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise _refuse(error, kind) from None


def shown(value: Any) -> str:
    """A value as it appears in a message: cut when it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _refuse(error: ValidationError, kind: type[BaseModel]) -> ApiError:
    first = error.errors(include_url=False)[0]
    place = [part for part in first["loc"] if isinstance(part, int) or part.isidentifier()]
    param = str(place[0]) if place else str(first["loc"][0])
    if first["type"] == "missing":
        name = ".".join(str(part) for part in first["loc"])
        return bad_request(f"{name} is required", param=param, code="missing")
    if first["type"] == "extra_forbidden":
        fields = ", ".join(sorted(kind.model_fields))
        name = ".".join(str(part) for part in first["loc"])
        message = f"{name} is not a field of this request; there are: {fields}"
        return bad_request(message, param=str(first["loc"][0]), code="unknown_field")
    union = next((part for part in first["loc"] if part in _ALLOWED), None)
    if union is not None and len(first["loc"]) > 1:
        return bad_request(f"{union} must be {_ALLOWED[str(union)]}", param=param)
    name = ".".join(str(part) for part in first["loc"])
    return bad_request(f"{name}={shown(first['input'])}: {first['msg']}", param=param)


def body_of(kind: type[BaseModel]) -> dict[str, Any]:
    """The description of a body for the OpenAPI document, without references."""
    schema = kind.model_json_schema()
    defs = schema.pop("$defs", {})
    return {
        "required": True,
        "description": "Read as JSON whatever the Content-Type.",
        "content": {"application/json": {"schema": _inline(schema, defs)}},
    }


def _inline(node: Any, defs: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inline(item, defs) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        rest = {key: value for key, value in node.items() if key != "$ref"}
        return _inline({**defs[node["$ref"].rsplit("/", 1)[1]], **rest}, defs)
    return {key: _inline(value, defs) for key, value in node.items()}
