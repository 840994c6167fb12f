"""The threads that claim and watch."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from server import metrics
from server.jobs import runner as runner_module
from server.jobs.database import StoreError
from server.jobs.files import JobFiles
from server.jobs.job import Job, JobState
from server.jobs.runner import JobRunner
from server.jobs.store import JobStore
from server.jobs.watch import JobWatch
from server.settings import Settings
from tests.unit.server.jobs.fakes import FakeDub, runner_of, submit_real, wait_for
from tests.unit.server.jobs.rows import claim, look, settings_in
from trans_dh_service.task import DubTask, DubWatch


class House:
    """A runner with a fake dub; started by hand, drained in the end."""

    def __init__(self, folder: Path, store: JobStore) -> None:
        self.folder, self.store = folder, store
        self.files = JobFiles(folder / "data")
        self.files.make()
        self.dub = FakeDub()
        self.runner = self.make()

    def make(self, **changes: object) -> JobRunner:
        settings: Settings = settings_in(self.folder, **changes)
        self.runner = runner_of(settings, self.store, self.files, self.dub)
        return self.runner

    def submit(self, **request: object) -> Job:
        return submit_real(self.store, self.files, **request)

    def state(self, job: Job) -> JobState:
        return look(self.store, job).state

    def wait(self, job: Job, state: JobState) -> None:
        wait_for(lambda: self.state(job) is state)


@pytest.fixture
def house(tmp_path: Path, store: JobStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setattr(runner_module, "_TICK_S", 0.02)
    monkeypatch.setattr(runner_module, "_RECOVER_EVERY_S", 0.05)
    made = House(tmp_path, store)
    yield made
    made.dub.gate.set()
    made.runner.drain(10)


def test_jobs_are_done_in_order_and_counted(house: House) -> None:
    made = [house.submit() for _ in range(3)]
    house.runner.start()
    for job in made:
        house.wait(job, JobState.COMPLETED)
    wait_for(lambda: house.runner.finished == 3)
    assert house.runner.running == 0


def test_as_many_jobs_run_at_once_as_are_allowed(house: House) -> None:
    house.dub.gate.clear()
    for _ in range(3):
        house.submit()
    house.runner.start()
    wait_for(lambda: house.runner.running == 2)
    assert house.store.counts()[JobState.QUEUED] == 1


def test_a_job_that_comes_later_is_begun_at_once(house: House) -> None:
    house.runner.start()
    job = house.submit()
    house.wait(job, JobState.COMPLETED)


def test_draining_gives_running_jobs_back_unblamed(house: House) -> None:
    house.dub.gate.clear()
    job = house.submit()
    house.runner.start()
    house.dub.began.wait(5)
    house.runner.drain(5)
    now = look(house.store, job)
    assert (now.state, now.crashes) == (JobState.QUEUED, 0)
    assert house.runner.running == 0
    house.submit()
    assert house.store.counts()[JobState.QUEUED] == 2


def test_draining_gives_back_even_what_a_stuck_thread_holds(house: House) -> None:
    free = threading.Event()

    def hang(_task: DubTask, _watch: DubWatch) -> None:
        free.wait(10)

    house.dub.before = hang
    job = house.submit()
    house.runner.start()
    house.dub.began.wait(5)
    house.runner.drain(0.1)
    now = look(house.store, job)
    assert (now.state, now.crashes) == (JobState.QUEUED, 0)
    free.set()
    wait_for(lambda: house.runner.running == 0)
    assert house.state(job) is JobState.QUEUED


def test_recycling_lets_running_jobs_finish_and_begins_no_new_ones(house: House) -> None:
    house.make(max_concurrent_jobs=1)
    house.dub.gate.clear()
    running, waiting = house.submit(), house.submit()
    house.runner.start()
    house.dub.began.wait(5)
    threading.Timer(0.2, house.dub.gate.set).start()
    house.runner.finish_and_stop(10)
    assert house.state(running) is JobState.COMPLETED
    assert house.state(waiting) is JobState.QUEUED


def test_recycling_drains_what_takes_too_long(house: House) -> None:
    house.dub.gate.clear()
    job = house.submit()
    house.runner.start()
    house.dub.began.wait(5)
    house.runner.finish_and_stop(0.2)
    assert house.state(job) is JobState.QUEUED


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_job_ended_from_outside_stops_soon_and_leaves_no_files(house: House, end: str) -> None:
    house.dub.gate.clear()
    job = house.submit()
    house.runner.start()
    house.dub.began.wait(5)
    getattr(house.store, end)(job.id)
    wait_for(lambda: house.runner.running == 0, 2)
    assert not house.files.work_dir(job.id).exists()
    assert not Path(job.request.video_path).exists()
    assert house.runner.finished == 0


def test_starting_takes_back_what_the_dead_worker_of_this_slot_held(house: House) -> None:
    job = house.submit()
    claim(house.store, replace(house.runner.owner, pid=1))
    house.runner.start()
    house.wait(job, JobState.COMPLETED)
    assert look(house.store, job).attempt == 2


def killed() -> float:
    labels = {"code": "worker_killed"}
    return metrics.REGISTRY.get_sample_value("mouthpiece_job_failures_total", labels) or 0.0


def test_a_poisonous_job_found_at_start_is_failed_and_cleared_up(house: House) -> None:
    house.make(max_job_crashes=1)
    house.store.close()
    from server.jobs.store import open_store

    house.store = open_store(settings_in(house.folder, max_job_crashes=1))
    house.make(max_job_crashes=1)
    job = house.submit()
    claim(house.store, replace(house.runner.owner, pid=1))
    house.files.work_dir(job.id).mkdir()
    before = killed()
    house.runner.start()
    assert house.state(job) is JobState.FAILED
    assert killed() == before + 1
    assert not house.files.work_dir(job.id).exists()
    house.runner.drain(5)
    house.store.close()


def test_a_job_without_progress_is_tried_again_by_another_thread(house: House) -> None:
    house.make(job_stall_s=0.3, max_concurrent_jobs=1)
    free = threading.Event()
    notes: list[str] = []

    def hang_once(_task: DubTask, _watch: DubWatch) -> None:
        if len(house.dub.tasks) == 1:
            free.wait(10)
        else:
            notes.append(look(house.store, job).note)

    house.dub.before = hang_once
    job = house.submit()
    house.runner.start()
    house.wait(job, JobState.COMPLETED)
    now = look(house.store, job)
    assert now.attempt == 2
    assert "JOB_STALL_S=0.3" in notes[0]
    assert now.note == ""
    free.set()


def test_a_store_that_fails_for_a_while_does_not_end_the_threads(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_claim, real_held = house.store.claim, house.store.held
    failures = {"claim": 2, "held": 2}

    def flaky(name: str) -> None:
        if failures[name] > 0:
            failures[name] -= 1
            raise StoreError("busy")

    def flaky_claim(owner: object, lease_s: float) -> Job | None:
        flaky("claim")
        return real_claim(owner, lease_s)  # type: ignore[arg-type]

    def flaky_held(job: Job) -> bool:
        flaky("held")
        return real_held(job)

    monkeypatch.setattr(house.store, "claim", flaky_claim)
    monkeypatch.setattr(house.store, "held", flaky_held)
    house.dub.gate.clear()
    job = house.submit()
    house.runner.start()
    wait_for(lambda: failures == {"claim": 0, "held": 0})
    house.dub.gate.set()
    house.wait(job, JobState.COMPLETED)


def test_a_broken_attempt_leaves_the_job_to_its_lease_and_the_thread_alive(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.make(max_concurrent_jobs=1)
    real = house.runner.work.attempt

    def broken_once(job: Job, watch: JobWatch) -> bool:
        monkeypatch.setattr(house.runner.work, "attempt", real)
        raise StoreError("gone")

    monkeypatch.setattr(house.runner.work, "attempt", broken_once)
    left, done = house.submit(), house.submit()
    house.runner.start()
    house.wait(done, JobState.COMPLETED)
    assert house.state(left) is JobState.IN_PROGRESS


def test_old_jobs_are_swept_while_the_runner_lives(house: House) -> None:
    house.make(keep_results_h=1e-9)
    job = house.submit()
    house.store.cancel(job.id)
    house.runner.start()
    wait_for(lambda: house.store.get(job.id) is None)
