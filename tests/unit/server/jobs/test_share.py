"""Dealing a long job out: what is offered, when the dub waits, how it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from server.jobs.job import Job
from server.jobs.share import Sharing
from server.jobs.store import JobStore
from server.jobs.watch import JobWatch, Stop
from tests.unit.server.jobs.rows import LEASE_S, ME, claim, queue, settings_in
from trans_dh_service.plan import Plan, segment_path
from trans_dh_service.task import Loop, StoppedError

HELPER = replace(ME, slot=1, pid=101)
PLAN = Plan(Fraction(10), 70, 10, 64, 48, 70, Loop.PINGPONG, 7.0, "same")
TWO = {"gunicorn_workers": 2, "split_min_segments": 3, "split_range_segments": 3}


class Bench:
    """A claimed job, its watch and its work folder."""

    def __init__(self, folder: Path, store: JobStore, **settings: Any) -> None:
        self.store = store
        self.folder = folder
        self.sharing = Sharing(settings_in(folder, **{**TWO, **settings}), store, ME)
        queue(store)
        self.job: Job = claim(store)
        self.watch = JobWatch(self.job)

    def parts(self) -> Generator[tuple[int, int], None, None]:
        share = self.sharing.of(self.job, self.watch)
        assert share is not None
        return share(self.folder, PLAN)

    def make(self, first: int, end: int) -> None:
        for index in range(first, end):
            segment_path(self.folder, index).touch()


@pytest.fixture
def bench(tmp_path: Path, store: JobStore) -> Bench:
    return Bench(tmp_path, store)


@pytest.mark.parametrize("settings", [{"gunicorn_workers": 1}, {"split_min_segments": 0}])
def test_a_worker_that_is_alone_or_may_not_share_deals_nothing_out(
    tmp_path: Path, store: JobStore, settings: dict[str, int]
) -> None:
    made = Bench(tmp_path, store, **settings)
    assert made.sharing.of(made.job, made.watch) is None


def test_a_job_with_few_missing_segments_is_left_to_its_worker(bench: Bench) -> None:
    bench.make(0, 4)
    assert list(bench.parts()) == []
    assert bench.store.ranges.help(HELPER, LEASE_S) is None


def test_a_worker_whom_nobody_helps_makes_every_range_in_order(bench: Bench) -> None:
    bench.make(1, 2)
    seen = []
    for first, end in bench.parts():
        seen.append((first, end))
        bench.make(first, end)
    assert seen == [(0, 1), (2, 4), (4, 6), (6, 7)]
    report = bench.watch.take()
    assert report is not None
    assert (report.segments_done, report.segments_total) == (7, 7)
    assert bench.store.ranges.left(bench.job) == 0


def test_the_worker_waits_for_its_helpers_and_tells_of_their_segments(bench: Bench) -> None:
    bench.make(0, 1)
    parts = bench.parts()
    assert next(parts) == (1, 3)
    ranges = bench.store.ranges
    helped = ranges.help(HELPER, LEASE_S)
    assert helped is not None
    bench.make(1, 3)
    assert next(parts) == (5, 7)
    bench.make(5, 7)

    told: list[int] = []

    def finish() -> None:
        while 20 + 70 * 5 // 7 not in told:  # five of seven segments are there
            report = bench.watch.take()
            told.extend([report.progress] if report else [])
        bench.make(3, 5)
        ranges.finish(helped[1])

    thread = threading.Thread(target=finish, daemon=True)
    thread.start()
    assert list(parts) == []
    thread.join()
    report = bench.watch.take()
    assert report is not None
    assert (report.segments_done, report.new_segment) == (7, True)


def test_a_range_whose_helper_died_is_made_by_the_worker_itself(bench: Bench) -> None:
    parts = bench.parts()
    assert next(parts) == (0, 2)
    assert bench.store.ranges.help(HELPER, -1) is not None
    assert next(parts) == (2, 4)
    parts.close()


def test_closing_takes_the_ranges_back(bench: Bench) -> None:
    parts = bench.parts()
    next(parts)
    parts.close()
    assert bench.store.ranges.help(HELPER, LEASE_S) is None


def test_a_worker_that_is_stopped_waits_no_longer(bench: Bench) -> None:
    bench.make(0, 3)
    parts = bench.parts()
    next(parts)
    bench.store.ranges.help(HELPER, LEASE_S)
    threading.Timer(0.2, bench.watch.stop, (Stop.DRAIN,)).start()
    with pytest.raises(StoppedError):
        next(parts)


def test_a_lost_claim_offers_nothing(bench: Bench) -> None:
    bench.store.cancel(bench.job.id)
    with pytest.raises(StoppedError, match="claim"):
        next(bench.parts())


def test_a_new_attempt_begins_once_the_helpers_of_the_last_one_have_let_go(bench: Bench) -> None:
    parts = bench.parts()
    next(parts)
    helped = bench.store.ranges.help(HELPER, LEASE_S)
    assert helped is not None
    parts.close()
    bench.store.release(bench.job)
    bench.job = claim(bench.store)
    began = time.monotonic()
    threading.Timer(0.3, bench.store.ranges.release, (helped[1],)).start()
    assert next(bench.parts()) == (0, 2)
    assert time.monotonic() - began >= 0.25


def test_ranges_are_large_at_first_and_small_at_the_end(tmp_path: Path, store: JobStore) -> None:
    bench = Bench(tmp_path, store, gunicorn_workers=4, split_range_segments=15)
    plan = replace(PLAN, frames=1500, segment_frames=10, source_frames=1500)
    share = bench.sharing.of(bench.job, bench.watch)
    assert share is not None
    sizes = [end - first for first, end in share(bench.folder, plan)]
    assert sum(sizes) == 150
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], max(sizes[-4:])) == (15, 2)
