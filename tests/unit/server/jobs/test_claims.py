"""What runners do to rows."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy.dialects import postgresql

from server.jobs.claims import WORKER_KILLED, Owner, Report, claim_statement
from server.jobs.job import JobError, JobOutcome, JobState
from server.jobs.store import JobStore
from tests.unit.server.jobs.rows import LEASE_S, ME, claim, look, queue

NEXT = replace(ME, pid=101)
ELSEWHERE = Owner("other", 0, 7, 1.0)


def test_the_oldest_job_is_claimed_first(store: JobStore) -> None:
    made = [queue(store).id for _ in range(3)]
    assert [claim(store).id for _ in range(3)] == made
    assert store.claim(ME, LEASE_S) is None


def test_a_claim_says_who_holds_it_and_until_when(store: JobStore) -> None:
    queue(store)
    job = claim(store)
    assert (job.state, job.attempt, job.owner) == (JobState.IN_PROGRESS, 1, str(ME))
    assert job.started_at is not None
    assert job.lease_until == pytest.approx(job.started_at + LEASE_S, abs=1)


def test_no_job_is_claimed_twice_by_threads_that_race(store: JobStore) -> None:
    made = {queue(store).id for _ in range(20)}
    taken: list[str] = []

    def race() -> None:
        while job := store.claim(ME, LEASE_S):
            taken.append(job.id)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 20
    assert set(taken) == made


def test_a_completed_job_has_its_outcome(store: JobStore) -> None:
    queue(store)
    job = claim(store)
    outcome = JobOutcome("/data/r.mp4", 7.48, 640, 480, 1234)
    assert store.complete(job, outcome)
    now = look(store, job)
    assert (now.state, now.progress, now.outcome) == (JobState.COMPLETED, 100, outcome)
    assert (now.owner, now.lease_until) == (None, None)
    assert now.finished_at is not None


def test_a_failed_job_says_why(store: JobStore) -> None:
    queue(store)
    job = claim(store)
    assert store.fail(job, JobError("invalid_video", "no stream"))
    now = look(store, job)
    assert (now.state, now.error) == (JobState.FAILED, JobError("invalid_video", "no stream"))


def test_a_released_job_keeps_its_place_and_counts_no_crash(store: JobStore) -> None:
    first = queue(store)
    queue(store)
    job = claim(store)
    assert store.release(job, "the worker ends")
    now = look(store, job)
    assert (now.state, now.crashes, now.note) == (JobState.QUEUED, 0, "the worker ends")
    again = claim(store)
    assert (again.id, again.attempt) == (first.id, 2)


def test_every_write_of_a_lost_claim_is_refused(store: JobStore) -> None:
    queue(store)
    late = claim(store)
    store.release(late)
    held = claim(store)
    report = Report("render", 50, 1, 4)
    assert not store.held(late)
    assert not store.heartbeat(late, LEASE_S)
    assert not store.report(late, report)
    assert not store.complete(late, JobOutcome("/r", 1, 1, 1, 1))
    assert not store.fail(late, JobError("internal", ""))
    assert not store.release(late)
    assert store.give_up(late, "stalled") is None
    assert look(store, held) == held


@pytest.mark.parametrize("end", ["cancel", "delete"])
def test_a_cancelled_or_deleted_job_is_lost_to_its_worker(store: JobStore, end: str) -> None:
    queue(store)
    job = claim(store)
    getattr(store, end)(job.id)
    assert not store.held(job)
    assert not store.complete(job, JobOutcome("/r", 1, 1, 1, 1))


def test_a_report_is_stored_and_the_heartbeat_lengthens_the_lease(store: JobStore) -> None:
    queue(store)
    job = claim(store)
    assert store.report(job, Report("render", 42, 2, 5))
    assert store.heartbeat(job, LEASE_S * 10)
    now = look(store, job)
    assert (now.stage, now.progress, now.segments_done, now.segments_total) == ("render", 42, 2, 5)
    assert now.lease_until is not None
    assert job.lease_until is not None
    assert now.lease_until > job.lease_until + LEASE_S


def test_the_next_worker_of_a_slot_takes_back_at_once_what_the_dead_one_held(
    store: JobStore,
) -> None:
    queue(store)
    job = claim(store)
    assert [found.id for found in store.recover(NEXT)] == [job.id]
    now = look(store, job)
    assert (now.state, now.crashes, now.owner) == (JobState.QUEUED, 1, None)


def test_a_worker_elsewhere_waits_until_the_lease_runs_out(store: JobStore) -> None:
    queue(store)
    queue(store)
    claim(store)
    expired = store.claim(ME, -1.0)
    assert expired is not None
    assert [job.id for job in store.recover(ELSEWHERE)] == [expired.id]


def test_a_worker_does_not_take_its_own_living_claim(store: JobStore) -> None:
    queue(store)
    claim(store)
    assert store.recover(ME) == []


def test_slots_whose_numbers_begin_alike_are_not_mixed_up(store: JobStore) -> None:
    queue(store)
    claim(store, Owner("host", 10, 1, 1.0))
    assert store.recover(Owner("host", 1, 2, 1.0)) == []


def test_a_job_that_kills_its_worker_three_times_fails_with_that_reason(store: JobStore) -> None:
    queue(store)
    for pid in range(3):
        job = claim(store, replace(ME, pid=pid))
        store.recover(replace(ME, pid=pid + 1))
    now = look(store, job)
    assert now.state is JobState.FAILED
    assert now.error is not None
    assert now.error.code == WORKER_KILLED
    assert "killed 3 times" in now.error.message
    assert "MAX_JOB_CRASHES=3" in now.error.message


def test_a_new_segment_clears_the_blame(store: JobStore) -> None:
    queue(store)
    for pid in range(6):
        job = claim(store, replace(ME, pid=pid))
        assert store.report(job, Report("render", 30, pid + 1, 9, new_segment=True))
        store.recover(replace(ME, pid=pid + 1))
    now = look(store, job)
    assert (now.state, now.crashes) == (JobState.QUEUED, 1)


def test_a_stalled_job_goes_back_with_the_reason(store: JobStore) -> None:
    queue(store)
    after = store.give_up(claim(store), "no progress for 300 s")
    assert after is not None
    assert (after.state, after.crashes, after.note) == (
        JobState.QUEUED,
        1,
        "no progress for 300 s",
    )


def test_on_postgresql_a_claim_does_not_wait_for_rows_that_others_take() -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    text = str(claim_statement(ME, LEASE_S).compile(dialect=dialect))
    assert "FOR UPDATE SKIP LOCKED" in text
    assert "RETURNING" in text
