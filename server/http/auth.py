"""The key: whether a request may pass.

What it is not: users or rights. One key opens every route; probes need none.
"""

from __future__ import annotations

import hmac

from flask import Request

from server.http.errors import ApiError, Problem

_BEARER = "bearer "


def check_key(request: Request, key: str | None) -> None:
    """Compare the request's key with ours in constant time.

    Raises:
        ApiError: 401.
    """
    if key is None:
        return
    given = request.headers.get("X-API-Key", "")
    authorization = request.headers.get("Authorization", "")
    if not given and authorization.lower().startswith(_BEARER):
        given = authorization[len(_BEARER) :].strip()
    if hmac.compare_digest(given.encode(), key.encode()):
        return
    message = "the key is wrong" if given else "a key is needed"
    raise ApiError(
        Problem(
            401,
            "invalid_api_key",
            f"{message}: send it as `X-API-Key: ...` or `Authorization: Bearer ...`",
            headers={"WWW-Authenticate": "Bearer"},
        )
    )
