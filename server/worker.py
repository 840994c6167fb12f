"""The worker process's part of Gunicorn's hooks: device in sight, boot, signals, a bounded end.

What it is not: the boot itself (boot.py) or the phases (lifecycle.py). This module imports nothing
heavy; it runs in the worker right after the fork.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from types import FrameType
from typing import Any

import structlog

from server.master import Place
from server.ops import OpsServer
from server.settings import pin_device

# The worker ends its own wait for requests before the master's patience, which ends in SIGKILL.
_EARLIER_S = 2
_QUICK_S = 1.0
# Threads of requests that never end would hold the interpreter's exit for ever.
_EXIT_S = 4.0

_log = structlog.get_logger("server.worker")


@dataclass
class _Life:
    lifecycle: Any
    ops: OpsServer | None
    deadline: float | None = None
    graceful_s: float = 30.0


_life: _Life | None = None


def post_fork(worker: Any, place: Place) -> None:
    """Before the app is imported: CUDA sees the one device of the slot."""
    pin_device(place.slot.device)
    worker.cfg.set("graceful_timeout", max(1, worker.cfg.graceful_timeout - _EARLIER_S))


def post_worker_init(worker: Any, place: Place) -> None:
    """The app is imported: answer probes, watch for SIGTERM, begin the boot."""
    global _life
    extensions = getattr(worker.wsgi, "extensions", {})
    lifecycle = extensions.get("lifecycle")
    if lifecycle is None:
        raise RuntimeError("gunicorn.conf.py serves app_server:app; this app has no lifecycle")
    ops = None
    if place.ops_socket is not None:
        ops = OpsServer(place.ops_socket, extensions["ops_app"])
        ops.start()
    _life = _Life(lifecycle, ops, graceful_s=float(worker.cfg.graceful_timeout))
    _chain_sigterm(_life)
    lifecycle.start(place)


def _chain_sigterm(life: _Life) -> None:
    gunicorns = signal.getsignal(signal.SIGTERM)

    def on_term(number: int, frame: FrameType | None) -> None:
        """Tell the lifecycle first (a lock-free queue: this may interrupt anything)."""
        if life.deadline is None:
            life.deadline = time.monotonic() + life.graceful_s
        life.lifecycle.drain("SIGTERM")
        if callable(gunicorns):
            gunicorns(number, frame)

    signal.signal(signal.SIGTERM, on_term)
    signal.siginterrupt(signal.SIGTERM, False)


def worker_int(_worker: Any) -> None:
    """SIGINT or SIGQUIT: jobs go back to the queue, requests are cut."""
    if _life is not None:
        _life.deadline = time.monotonic() + _QUICK_S
        _life.lifecycle.drain("SIGQUIT")


def worker_exit(_worker: Any) -> None:
    """Stop all that runs; the device's lease ends with the process."""
    global _life
    life, _life = _life, None
    if life is None:
        return
    deadline = life.deadline or time.monotonic() + life.graceful_s
    left_s = max(_QUICK_S, deadline - time.monotonic())
    threading.Thread(target=_end_for_sure, args=(left_s + _EXIT_S,), daemon=True).start()
    life.lifecycle.stop(left_s)
    if life.ops is not None:
        life.ops.stop()


def _end_for_sure(after_s: float) -> None:
    time.sleep(after_s)
    _log.warning("threads did not end: the process ends without them")
    os._exit(0)
