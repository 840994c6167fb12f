"""The watchdog says when a worker should be replaced."""

from __future__ import annotations

import pytest

from server.settings import load_settings
from server.watchdog import Watchdog, rss_bytes

MIB = 1024 * 1024


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watchdog(memory_mib: int = 0, jobs: int = 0, rss_mib: int = 100) -> tuple[Watchdog, Clock]:
    clock = Clock()
    settings = load_settings(GUNICORN_MAX_MEMORY=memory_mib, GUNICORN_MAX_JOBS=jobs)
    return Watchdog(settings, lambda: rss_mib * MIB, clock), clock


def test_without_limits_a_worker_lives_for_ever() -> None:
    dog, clock = watchdog(rss_mib=1_000_000)
    clock.now = 1e9
    assert dog.reason(1_000_000) == ""


@pytest.mark.parametrize(("finished", "full"), [(2, False), (3, True), (4, True)])
def test_finished_jobs_are_limited(finished: int, full: bool) -> None:
    dog, _ = watchdog(jobs=3)
    assert (dog.reason(finished) == f"{finished} jobs finished (GUNICORN_MAX_JOBS=3)") is full


def test_memory_is_limited_once_a_job_was_done() -> None:
    dog, _ = watchdog(memory_mib=99)
    assert dog.reason(1) == "100 MiB in use (GUNICORN_MAX_MEMORY=99)"


def test_memory_below_the_limit_is_fine() -> None:
    dog, _ = watchdog(memory_mib=100)
    assert dog.reason(1) == ""


def test_a_limit_below_an_idle_worker_s_needs_does_not_recycle_at_full_speed() -> None:
    dog, clock = watchdog(memory_mib=50)
    assert dog.reason(0) == ""
    clock.now = 60
    assert "100 MiB in use" in dog.reason(0)


def test_resident_memory_is_measured() -> None:
    assert 10 * MIB < rss_bytes() < 100_000 * MIB
