"""Locks of devices, looked at from outside."""

from __future__ import annotations

import os
from pathlib import Path

from scripts.doctor.leases import Held, held
from server.lease import Lease


def test_a_lease_that_is_held_is_seen_with_its_owner_and_one_left_behind_is_not(
    tmp_path: Path,
) -> None:
    lease = Lease(tmp_path / "run" / "device-gpu-0.lock")
    assert list(held(tmp_path)) == []
    lease.acquire(1)
    (seen,) = held(tmp_path)
    assert (seen.device, seen.pid) == ("gpu-0", str(os.getpid()))
    assert "python" in seen.command
    lease.release()
    assert lease.path.exists()
    assert list(held(tmp_path)) == []


def test_looking_takes_no_lease_away(tmp_path: Path) -> None:
    list(held(tmp_path))
    lease = Lease(tmp_path / "run" / "device-cpu.lock")
    lease.acquire(0)
    list(held(tmp_path))
    assert lease.held
    lease.release()


def test_an_owner_that_is_gone_or_unknown_has_no_command() -> None:
    assert Held("cpu", "", Path("x")).command == ""
    assert Held("cpu", "999999999", Path("x")).command == ""
