"""Runs a call that blocks its thread (PyAV, hashing, fsync) without stopping other requests.

What it is not: a job queue. Under gthread every request has a thread of its own and the call is
made directly; under gevent all requests share one thread, so the call goes to the hub's pool of
native threads.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def run_native(call: Callable[..., T], *args: object) -> T:
    """`call(*args)`, its value or its exception."""
    if not on_hub():
        return call(*args)
    from gevent import get_hub  # only in a process that runs on gevent already

    result: T = get_hub().threadpool.apply(call, args)
    return result


def on_hub() -> bool:
    """Whether this is the thread on which gevent serves requests (server/gevent_worker.py)."""
    worker = sys.modules.get("server.gevent_worker")
    return worker is not None and worker.hub_thread == threading.get_ident()
