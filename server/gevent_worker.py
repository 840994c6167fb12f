"""Gunicorn's gevent worker with native threads: greenlets read and write requests, all else blocks
as usual.

What it is not: `monkey.patch_all`. Models, encoders and job threads need real threads; a patched
thread that computes would stop every request. Handlers hand long calls to native threads
(server/native.py); `time.sleep` alone is cooperative, and only on the thread of the hub.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import gevent
from gevent import socket
from gunicorn.workers.ggevent import GeventWorker

# The thread that serves requests, once there is one; server/native.py asks for it.
hub_thread: int | None = None


class NativeGeventWorker(GeventWorker):  # type: ignore[misc]
    """Selected by GUNICORN_WORKER_CLASS=gevent."""

    sockets: list[Any]

    def patch(self) -> None:
        """Make this thread's sleep and the listeners cooperative; patch nothing else."""
        _cooperative_sleep()
        self.sockets = [
            socket.socket(entry.FAMILY, socket.SOCK_STREAM, fileno=entry.sock.detach())
            for entry in self.sockets
        ]


def _cooperative_sleep() -> None:
    global hub_thread
    native = time.sleep
    hub_thread = mine = threading.get_ident()

    def sleep(seconds: Any) -> None:
        """Let other greenlets run on the hub's thread; sleep as ever on all others."""
        if threading.get_ident() == mine:
            gevent.sleep(seconds)
        else:
            native(seconds)

    time.sleep = sleep
