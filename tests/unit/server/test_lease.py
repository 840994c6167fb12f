"""The lease on a device: one living owner, freed by the kernel."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from server.lease import Lease, LeaseError

HOLDER = """
import sys, time
from pathlib import Path
from server.lease import Lease
lease = Lease(Path(sys.argv[1]))
lease.acquire(5)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "device-0.lock"


def holder(path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def test_a_free_device_is_taken_at_once_and_the_owner_written(path: Path) -> None:
    lease = Lease(path)
    lease.acquire(1)
    assert lease.held
    assert lease.owner() == str(os.getpid())
    lease.release()
    lease.release()
    assert not lease.held


def test_a_held_device_is_refused_after_the_wait_and_the_owner_named(path: Path) -> None:
    process = holder(path)
    try:
        with pytest.raises(LeaseError, match=f"held by process {process.pid}.*LEASE_TIMEOUT_S"):
            Lease(path).acquire(0.3)
    finally:
        end(process)


def test_the_kernel_frees_the_lease_of_a_killed_owner(path: Path) -> None:
    process = holder(path)
    threading.Timer(0.2, process.kill).start()
    lease = Lease(path)
    lease.acquire(5)
    process.communicate()
    assert lease.held
    lease.release()


def test_a_wait_ends_when_the_worker_drains(path: Path) -> None:
    process = holder(path)
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    try:
        with pytest.raises(LeaseError):
            Lease(path).acquire(30, stop.is_set)
    finally:
        end(process)
    assert time.monotonic() - began < 5


def test_an_owner_that_nobody_wrote_is_empty(path: Path) -> None:
    assert Lease(path).owner() == ""
