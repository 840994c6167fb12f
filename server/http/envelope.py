"""HeyGem's envelope: codes and the outer shape of every answer on `/easy/*`.

What it is not: the routes (easy.py).
"""

from __future__ import annotations

from typing import Any

from server.http.shapes import EasyAnswer

PREFIX = "/easy/"
SYSTEM_ERROR = 9999
OK = 10000
BAD_PARAMETER = 10002
NO_SUCH_TASK = 10004
DUPLICATE = 10005


def accepted(data: dict[str, Any], message: str = "") -> EasyAnswer:
    """A request that was served."""
    return EasyAnswer(code=OK, success=True, msg=message, data=data)


def refused(code: int, message: str) -> EasyAnswer:
    """A request that was not; `message` is for people."""
    return EasyAnswer(code=code, success=False, msg=message, data={})
