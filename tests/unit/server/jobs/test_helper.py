"""Helping with another worker's job: one range, its ends, its failures."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from server.jobs import runner as runner_module
from server.jobs.database import StoreError
from server.jobs.files import JobFiles
from server.jobs.helper import Helper, RangeWatch
from server.jobs.job import Job, JobState
from server.jobs.store import JobStore
from server.jobs.watch import Stop
from server.jobs.work import Work
from tests.unit.server.jobs.fakes import FakeDub, runner_of, submit_real, tools_of, wait_for
from tests.unit.server.jobs.rows import ME, claim, look, settings_in
from trans_dh_service.task import DubTask, DubTools, DubWatch, StoppedError

HERE = replace(ME, host=socket.gethostname())
OTHER = replace(HERE, slot=1, pid=101)
THIRD = replace(HERE, slot=3)


class FakeRange:
    """Makes segments until `gate` opens; `error` is raised instead, if there is one."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self.before: Callable[[DubWatch], object] = lambda _watch: None

    def __call__(
        self, task: DubTask, tools: DubTools, watch: DubWatch, first: int, end: int
    ) -> int:
        self.asked.append((first, end))
        self.before(watch)
        if self.error is not None:
            raise self.error
        index = first
        while not self.gate.wait(0.02):
            index += 1
            watch.segment(index, 100)
            if watch.stopped():
                raise StoppedError
        return end - first


class Bench:
    """A job of another worker, its ranges on offer, and a helper."""

    def __init__(self, folder: Path, store: JobStore) -> None:
        self.store = store
        self.files = JobFiles(folder / "data")
        self.files.make()
        settings = settings_in(folder, job_stall_s=0.2)
        self.work = Work(settings, store, self.files, tools_of)
        self.helper = Helper(settings, store, self.files, self.work, HERE)
        self.ranges = FakeRange()
        self.helper.dub_range = self.ranges
        submit_real(store, self.files)
        self.job: Job = claim(store, OTHER)
        self.files.work_dir(self.job.id).mkdir()
        store.ranges.offer(self.job, [(0, 2), (2, 4)])

    def found(self) -> RangeWatch:
        watch = self.helper.find()
        assert watch is not None
        return watch

    def begun(self) -> tuple[RangeWatch, threading.Thread]:
        """A range in work in a thread."""
        self.ranges.gate.clear()
        watch = self.found()
        thread = threading.Thread(target=self.helper.run, args=(watch,))
        thread.start()
        wait_for(lambda: self.ranges.asked)
        return watch, thread


@pytest.fixture
def bench(tmp_path: Path, store: JobStore) -> Bench:
    return Bench(tmp_path, store)


def test_ranges_are_made_one_after_the_other_and_said_to_be_done(bench: Bench) -> None:
    while (watch := bench.helper.find()) is not None:
        assert bench.helper.run(watch)
    assert bench.ranges.asked == [(0, 2), (2, 4)]
    assert bench.store.ranges.left(bench.job) == 0
    assert bench.helper.watch is None


def test_a_worker_helps_with_one_range_at_a_time(bench: Bench) -> None:
    bench.found()
    assert bench.helper.find() is None


def test_a_store_that_fails_is_no_reason_to_end(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object) -> None:
        raise StoreError("busy")

    monkeypatch.setattr(bench.store.ranges, "help", broken)
    assert bench.helper.find() is None


def test_a_range_that_fails_is_given_back_and_its_job_left_alone_from_then_on(
    bench: Bench,
) -> None:
    bench.ranges.error = RuntimeError("no such model here")
    assert bench.helper.run(bench.found())
    assert bench.helper.find() is None
    assert bench.store.ranges.help(THIRD, 30) is not None
    assert look(bench.store, bench.job).state is JobState.IN_PROGRESS


def test_a_whole_job_that_waits_ends_the_help_at_the_next_segment(bench: Bench) -> None:
    watch, thread = bench.begun()
    assert bench.helper.tend(beat=False, busy=True)
    thread.join(5)
    assert watch.why is Stop.YIELD
    assert bench.found().part.first == 0


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_job_that_is_ended_from_outside_stops_its_helper_and_leaves_no_files(
    bench: Bench, end: str
) -> None:
    watch, thread = bench.begun()
    assert bench.helper.tend(beat=True, busy=False)
    assert not watch.stopped()
    getattr(bench.store, end)(bench.job.id)
    assert bench.helper.tend(beat=True, busy=False)
    thread.join(5)
    assert watch.why is Stop.LOST
    assert not bench.files.work_dir(bench.job.id).exists()


@pytest.mark.parametrize("noticed", [True, False])
def test_an_error_after_the_job_was_ended_is_no_failure(bench: Bench, noticed: bool) -> None:
    def vanish(watch: DubWatch) -> None:
        bench.store.cancel(bench.job.id)
        if noticed:
            bench.helper.tend(beat=False, busy=False)

    bench.ranges.before = vanish
    bench.ranges.error = FileNotFoundError("segment")
    watch = bench.found()
    assert bench.helper.run(watch)
    assert watch.why is Stop.LOST
    assert not bench.files.work_dir(bench.job.id).exists()


def test_a_range_that_hangs_is_given_back_and_its_thread_given_up(bench: Bench) -> None:
    free = threading.Event()
    bench.ranges.before = lambda _watch: free.wait(10)
    watch = bench.found()
    ends: list[bool] = []
    thread = threading.Thread(target=lambda: ends.append(bench.helper.run(watch)))
    thread.start()
    time.sleep(0.25)
    assert not bench.helper.tend(beat=False, busy=False)
    assert bench.helper.watch is None
    assert bench.store.ranges.help(THIRD, 30) is not None
    free.set()
    thread.join(5)
    assert ends == [False]


@pytest.mark.parametrize(("why", "seen"), [(Stop.DRAIN, Stop.DRAIN), (None, Stop.YIELD)])
def test_a_worker_that_ends_lets_its_range_go(bench: Bench, why: Stop | None, seen: Stop) -> None:
    watch, thread = bench.begun()
    bench.helper.stop(why)
    thread.join(5)
    assert watch.why is seen
    assert bench.store.ranges.help(THIRD, 30) is not None


def test_what_a_stuck_thread_holds_is_given_back_at_the_end(bench: Bench) -> None:
    bench.helper.give_back()
    bench.helper.stop(Stop.DRAIN)
    bench.found()
    bench.helper.give_back()
    found = bench.store.ranges.help(THIRD, 30)
    assert found is not None
    assert found[1].first == 0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_TICK_S", 0.02)
    monkeypatch.setattr(runner_module, "_POLL_S", 0.02)


@pytest.mark.usefixtures("quick")
def test_a_runner_without_work_helps_and_goes_back_to_whole_jobs(
    bench: Bench, tmp_path: Path
) -> None:
    settings = settings_in(tmp_path, gunicorn_workers=2, max_concurrent_jobs=1)
    runner = runner_of(settings, bench.store, bench.files, FakeDub())
    runner.helper.dub_range = bench.ranges
    bench.ranges.gate.clear()
    runner.start()
    wait_for(lambda: bench.ranges.asked)
    whole = submit_real(bench.store, bench.files)
    wait_for(lambda: look(bench.store, whole).state is JobState.COMPLETED)
    bench.ranges.gate.set()
    wait_for(lambda: bench.store.ranges.left(bench.job) == 0)
    runner.drain(5)


@pytest.mark.usefixtures("quick")
def test_a_runner_replaces_a_thread_whose_range_hangs(bench: Bench, tmp_path: Path) -> None:
    free = threading.Event()
    settings = settings_in(tmp_path, gunicorn_workers=2, max_concurrent_jobs=1, job_stall_s=0.2)
    runner = runner_of(settings, bench.store, bench.files, FakeDub())
    runner.helper.dub_range = bench.ranges
    bench.ranges.before = lambda _watch: free.wait(10)
    runner.start()
    wait_for(lambda: bench.ranges.asked)
    whole = submit_real(bench.store, bench.files)
    wait_for(lambda: look(bench.store, whole).state is JobState.COMPLETED)
    free.set()
    runner.drain(5)


@pytest.mark.usefixtures("quick")
def test_a_runner_that_is_alone_does_not_look_for_ranges(bench: Bench, tmp_path: Path) -> None:
    runner = runner_of(settings_in(tmp_path), bench.store, bench.files, FakeDub())
    runner.helper.dub_range = bench.ranges
    runner.start()
    time.sleep(0.2)
    runner.drain(5)
    assert bench.ranges.asked == []
