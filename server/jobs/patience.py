"""Patience with a store that is busy: what must not be lost is tried again.

What it is not: for requests of clients, who are told at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import structlog

from server.jobs.database import StoreError

T = TypeVar("T")

log = structlog.get_logger(__name__)

_STORE_TRIES = 30
_STORE_WAIT_S = 1.0


def insist(call: Callable[[], T]) -> T:
    """`call()` again and again while the store is busy.

    Raises:
        StoreError: it stayed busy; the claim then runs out and the next attempt goes on.
    """
    for _ in range(_STORE_TRIES - 1):
        try:
            return call()
        except StoreError as error:
            log.warning("store_tried_again", error=str(error))
            time.sleep(_STORE_WAIT_S)
    return call()
