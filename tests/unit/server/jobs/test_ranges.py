"""Ranges of a job: offered by its worker, taken by others, bound to the attempt."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa

from server.jobs.claims import Owner
from server.jobs.database import Database
from server.jobs.job import Job
from server.jobs.ranges import Ranges, SegmentRange
from server.jobs.store import JobStore
from server.jobs.table import ranges as table
from tests.unit.server.jobs.rows import LEASE_S, ME, claim, queue

HELPER = replace(ME, slot=1, pid=101)
THIRD = replace(ME, slot=2, pid=102)
PARTS = [(0, 2), (2, 4), (4, 5)]


@pytest.fixture
def job(store: JobStore) -> Job:
    queue(store)
    made = claim(store)
    assert store.ranges.offer(made, PARTS)
    return made


def helped(store: JobStore, owner: Owner = HELPER, lease_s: float = LEASE_S) -> SegmentRange:
    found = store.ranges.help(owner, lease_s)
    assert found is not None
    return found[1]


def bounds(part: SegmentRange | None) -> tuple[int, int] | None:
    return None if part is None else (part.first, part.end)


def test_workers_take_different_ranges_in_order_until_none_is_left(
    store: JobStore, job: Job
) -> None:
    own = store.ranges.take(job, ME)
    found = store.ranges.help(HELPER, LEASE_S)
    assert found is not None
    assert (found[0].id, bounds(found[1])) == (job.id, (2, 4))
    assert bounds(own) == (0, 2)
    assert bounds(helped(store, THIRD)) == (4, 5)
    assert store.ranges.help(THIRD, LEASE_S) is None
    assert store.ranges.take(job, ME) is None
    assert store.ranges.left(job) == 3


def test_a_finished_range_is_left_no_more_and_not_given_out_again(
    store: JobStore, job: Job
) -> None:
    part = helped(store)
    assert store.ranges.finish(part)
    assert store.ranges.left(job) == 2
    assert not store.ranges.finish(part)
    assert bounds(store.ranges.take(job, ME)) == (2, 4)


def test_a_worker_does_not_help_itself_nor_other_hosts_nor_jobs_it_passes_over(
    store: JobStore, job: Job
) -> None:
    assert store.ranges.help(ME, LEASE_S) is None
    assert store.ranges.help(replace(HELPER, host="elsewhere"), LEASE_S) is None
    assert store.ranges.help(HELPER, LEASE_S, {job.id}) is None
    assert bounds(helped(store)) == (0, 2)


def test_a_range_whose_lease_ran_out_goes_to_another_and_the_late_worker_is_fenced_out(
    store: JobStore, job: Job
) -> None:
    late = helped(store, lease_s=-1)
    again = store.ranges.take(job, ME)
    assert bounds(again) == bounds(late)
    assert again is not None
    assert not store.ranges.held(late)
    assert not store.ranges.heartbeat(late, LEASE_S)
    assert not store.ranges.finish(late)
    assert not store.ranges.release(late)
    assert store.ranges.held(again)


def test_a_heartbeat_keeps_a_range(store: JobStore, job: Job) -> None:
    part = helped(store, lease_s=0.05)
    assert store.ranges.heartbeat(part, LEASE_S)
    time.sleep(0.06)
    assert bounds(store.ranges.take(job, ME)) == (2, 4)


def test_the_own_worker_s_range_has_no_lease_to_run_out(store: JobStore, job: Job) -> None:
    own = store.ranges.take(job, ME)
    assert own is not None
    assert bounds(helped(store)) == (2, 4)
    assert store.ranges.held(own)


def test_a_range_that_was_given_up_is_open_again_but_two_helpers_are_enough(
    store: JobStore, job: Job
) -> None:
    for _ in range(2):
        part = helped(store)
        assert part.first == 0
        assert store.ranges.release(part)
    assert helped(store).first == 2
    assert bounds(store.ranges.take(job, ME)) == (0, 2)


@pytest.mark.parametrize("end", ["cancel", "delete", "release", "give_up", "recover"])
def test_helpers_lose_their_ranges_with_the_attempt(store: JobStore, job: Job, end: str) -> None:
    part = helped(store)
    assert store.ranges.held(part)
    endings: dict[str, Callable[[], object]] = {
        "cancel": lambda: store.cancel(job.id),
        "delete": lambda: store.delete(job.id),
        "release": lambda: store.release(job),
        "give_up": lambda: store.give_up(job, "killed"),
        "recover": lambda: store.recover(replace(ME, pid=9)),
    }
    endings[end]()
    assert not store.ranges.held(part)
    assert not store.ranges.heartbeat(part, LEASE_S)
    assert not store.ranges.finish(part)
    assert store.ranges.help(THIRD, LEASE_S) is None


def test_a_withdrawn_job_is_helped_no_more_but_those_at_work_are_remembered(
    store: JobStore, job: Job
) -> None:
    part = helped(store)
    store.ranges.take(job, ME)
    store.ranges.withdraw(job)
    assert store.ranges.help(THIRD, LEASE_S) is None
    assert store.ranges.held(part)
    store.release(job)
    assert not store.ranges.held(part)
    assert store.ranges.lingering(claim(store))


def test_the_next_attempt_waits_for_helpers_of_the_last_one_and_offers_anew(
    store: JobStore, job: Job
) -> None:
    part = helped(store)
    store.release(job)
    again = claim(store)
    assert store.ranges.lingering(again)
    assert store.ranges.release(part)
    assert not store.ranges.lingering(again)
    assert store.ranges.offer(again, [(3, 5)])
    assert bounds(helped(store)) == (3, 5)
    assert not store.ranges.offer(job, PARTS)


def test_a_dead_helper_that_never_let_go_lingers_no_longer_than_its_lease(
    store: JobStore, job: Job
) -> None:
    helped(store, lease_s=-1)
    store.release(job)
    assert not store.ranges.lingering(claim(store))


def test_a_new_process_in_a_slot_opens_what_the_dead_one_held(store: JobStore, job: Job) -> None:
    part = helped(store)
    assert store.ranges.recover(HELPER) == 0
    assert store.ranges.recover(THIRD) == 0
    assert store.ranges.recover(replace(HELPER, pid=500)) == 1
    assert not store.ranges.held(part)
    assert bounds(helped(store, THIRD)) == (0, 2)


def test_ranges_go_with_their_job(store: JobStore, job: Job) -> None:
    store.delete(job.id)
    database: Database = store.ranges._database
    with database.read() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(table)) == 0
    assert isinstance(store.ranges, Ranges)
