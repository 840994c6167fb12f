"""Calls that block, under threads and under gevent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from server.native import run_native

ROOT = Path(__file__).resolve().parents[3]

UNDER_GEVENT = """
import ctypes, threading, time, gevent
from server import gevent_worker
from server.native import run_native

gevent_worker._cooperative_sleep()

ticks = []
def tick():
    while True:
        ticks.append(1)
        gevent.sleep(0.01)

gevent.spawn(tick)
libc = ctypes.CDLL(None)
main = threading.get_ident()
def block():
    libc.usleep(400_000)
    return threading.get_ident()
assert run_native(block) != main
assert len(ticks) > 10, ticks
def fail(text):
    raise ValueError(text)
try:
    run_native(fail, "seen")
except ValueError as error:
    print("raised", error)
inside = []
worker = threading.Thread(target=lambda: inside.append(run_native(threading.get_ident)))
worker.start()
while worker.is_alive():
    gevent.sleep(0.01)
assert inside == [worker.ident]
"""


def test_without_gevent_the_call_is_made_here() -> None:
    assert run_native(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        run_native(divmod, 7, 0)


def test_under_gevent_other_requests_go_on_while_the_call_blocks() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "raised seen\n"), done.stderr
