"""Gunicorn's gevent worker with native threads: greenlets read and write requests, all else blocks
as usual.

What it is not: `monkey.patch_all`. Models, encoders and job threads need real threads; a patched
thread that computes would stop every request. Handlers hand long calls to native threads
(server/native.py); `time.sleep` alone is cooperative, and only on the thread of the hub.
"""

from __future__ import annotations

import threading
import time

import gevent
from gevent import socket
from gunicorn.workers.ggevent import GeventWorker


class NativeGeventWorker(GeventWorker):  # type: ignore[misc]
    """Selected by GUNICORN_WORKER_CLASS=gevent."""

    def patch(self) -> None:
        """Make this thread's sleep and the listeners cooperative; patch nothing else."""
        _cooperative_sleep()
        self.sockets = [
            socket.socket(entry.FAMILY, socket.SOCK_STREAM, fileno=entry.sock.detach())
            for entry in self.sockets
        ]


def _cooperative_sleep() -> None:
    native = time.sleep
    hub_thread = threading.get_ident()

    def sleep(seconds: float) -> None:
        """Let other greenlets run on the hub's thread; sleep as ever on all others."""
        if threading.get_ident() == hub_thread:
            gevent.sleep(seconds)
        else:
            native(seconds)

    time.sleep = sleep
