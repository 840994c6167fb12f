"""What clients do to rows."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.jobs.claims import Owner
from server.jobs.job import Job, JobError, JobOutcome, JobState
from server.jobs.store import ConflictError, JobStore, QueueFullError
from tests.unit.server.jobs.rows import LEASE_S, ME, claim, look, queue, store_in, submission_of


def test_a_submitted_job_is_found_again_with_all_it_was_given(store: JobStore) -> None:
    wanted = submission_of(
        loop="restart", code="c", idempotency_key="k", owns_inputs=False, watermark=True
    )
    done = store.submit(wanted, 10)
    assert done.created
    found = store.get(wanted.id)
    assert found == done.job
    assert found.request == wanted.request
    assert (found.state, found.seconds, found.width_px) == (JobState.QUEUED, 7.5, 64)
    assert store.by_code("c") == found


def test_an_unknown_job_is_none(store: JobStore) -> None:
    assert store.get("video_x") is None
    assert store.by_code("x") is None
    assert store.position("video_x") is None
    assert store.cancel("video_x") is None
    assert store.delete("video_x") is None


def test_the_same_key_and_request_give_the_same_job(store: JobStore) -> None:
    first = store.submit(submission_of(idempotency_key="k"), 10)
    again = store.submit(submission_of(idempotency_key="k"), 10)
    assert again.job.id == first.job.id
    assert not again.created
    assert store.counts()[JobState.QUEUED] == 1


def test_the_same_key_for_another_request_is_a_conflict_that_names_the_key(store: JobStore) -> None:
    store.submit(submission_of("one", idempotency_key="k"), 10)
    with pytest.raises(ConflictError, match="'k'") as caught:
        store.submit(submission_of("two", idempotency_key="k"), 10)
    assert caught.value.field == "idempotency_key"


def test_a_race_for_one_key_makes_one_job(store: JobStore) -> None:
    start = threading.Barrier(8)
    made: list[tuple[str, bool]] = []

    def race() -> None:
        start.wait()
        done = store.submit(submission_of(idempotency_key="k"), 10)
        made.append((done.job.id, done.created))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job_id for job_id, _ in made}) == 1
    assert sum(created for _, created in made) == 1


def test_a_full_queue_refuses_with_the_numbers_but_still_knows_old_keys(store: JobStore) -> None:
    store.submit(submission_of(idempotency_key="k"), 1)
    with pytest.raises(QueueFullError, match="1 jobs wait already; at most 1"):
        store.submit(submission_of("other"), 1)
    assert not store.submit(submission_of(idempotency_key="k"), 1).created


@pytest.mark.parametrize("ended", ["queued", "completed"])
def test_a_code_sent_again_for_the_same_files_is_the_same_job(store: JobStore, ended: str) -> None:
    first = store.submit(submission_of(code="c"), 10).job
    if ended == "completed":
        finish(store, JobState.COMPLETED)
    again = store.submit(submission_of(code="c"), 10)
    assert (again.job.id, again.created) == (first.id, False)


def test_a_code_in_use_by_other_files_is_a_conflict(store: JobStore) -> None:
    store.submit(submission_of("one", code="c"), 10)
    with pytest.raises(ConflictError, match="code 'c' belongs to another job that is queued"):
        store.submit(submission_of("two", code="c"), 10)


@pytest.mark.parametrize(
    ("end", "fingerprint"),
    [
        (JobState.FAILED, "same"),
        (JobState.CANCELLED, "same"),
        (JobState.COMPLETED, "other"),
        (JobState.FAILED, "other"),
    ],
)
def test_a_finished_job_gives_its_code_to_a_new_one(
    store: JobStore, end: JobState, fingerprint: str
) -> None:
    old = store.submit(submission_of("same", code="c"), 10).job
    finish(store, end)
    new = store.submit(submission_of(fingerprint, code="c"), 10)
    assert new.created
    assert look(store, old).request.code is None
    found = store.by_code("c")
    assert found is not None
    assert found.id == new.job.id


def finish(store: JobStore, end: JobState) -> None:
    job = claim(store)
    if end is JobState.COMPLETED:
        assert store.complete(job, JobOutcome("/r", 1, 1, 1, 1))
    elif end is JobState.FAILED:
        assert store.fail(job, JobError("internal", "x"))
    else:
        store.cancel(job.id)


def test_the_list_goes_page_by_page_in_both_orders(store: JobStore) -> None:
    made = [queue(store).id for _ in range(5)]
    page = store.list(None, 2)
    assert ([job.id for job in page.jobs], page.has_more) == ([made[4], made[3]], True)
    page = store.list(made[3], 5)
    assert ([job.id for job in page.jobs], page.has_more) == (made[2::-1], False)
    page = store.list(made[1], 2, newest_first=False)
    assert ([job.id for job in page.jobs], page.has_more) == (made[2:4], True)


def test_a_page_after_an_unknown_job_is_an_error(store: JobStore) -> None:
    with pytest.raises(LookupError, match="video_x"):
        store.list("video_x", 2)


def test_positions_count_only_who_waits(store: JobStore) -> None:
    first, second, third = (queue(store) for _ in range(3))
    assert [store.position(job.id) for job in (first, second, third)] == [1, 2, 3]
    claim(store)
    assert [store.position(job.id) for job in (first, second, third)] == [None, 1, 2]


def test_cancelling_is_idempotent_and_leaves_a_finished_job_alone(store: JobStore) -> None:
    waiting, done = queue(store), queue(store)
    cancelled = store.cancel(waiting.id)
    assert cancelled is not None
    assert cancelled.state is JobState.CANCELLED
    assert store.cancel(waiting.id) == cancelled
    finish(store, JobState.FAILED)
    kept = store.cancel(done.id)
    assert kept is not None
    assert kept.state is JobState.FAILED


def test_deleting_returns_the_job_and_forgets_it(store: JobStore) -> None:
    job = queue(store)
    assert store.delete(job.id) == job
    assert store.get(job.id) is None


def test_jobs_that_ended_long_ago_are_found_for_removal(store: JobStore) -> None:
    old = queue(store)
    finish(store, JobState.FAILED)
    queue(store)
    ended_at = look(store, old).finished_at
    assert ended_at is not None
    assert [job.id for job in store.finished_before(ended_at + 1)] == [old.id]
    assert store.finished_before(ended_at - 1) == []


def test_states_of_many_jobs_come_in_one_answer(store: JobStore) -> None:
    known = {queue(store).id for _ in range(3)}
    asked = known | {f"video_{index}" for index in range(1200)}
    assert store.states(asked) == dict.fromkeys(known, JobState.QUEUED)


def test_a_new_job_wakes_who_waits_for_work(store: JobStore) -> None:
    assert not store.changed.is_set()
    queue(store)
    assert store.changed.is_set()


def test_jobs_outlive_the_process(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    job = queue(store)
    store.close()
    again = store_in(tmp_path)
    assert again.get(job.id) == job
    again.close()


Step = st.sampled_from(["submit", "claim", "complete", "fail", "release", "cancel", "crash"])


@given(steps=st.lists(Step, max_size=25))
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_happens_a_final_job_stays_final_and_late_workers_get_nothing(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    store = store_in(tmp_path_factory.mktemp("model"))
    final: dict[str, JobState] = {}
    held: list[Job] = []
    late: list[Job] = []
    for index, step in enumerate(steps):
        take(store, step, Owner("host", 0, index, 0.0), held, late)
        for job in store.list(None, 100).jobs:
            assert final.setdefault(job.id, job.state) is job.state or not final[job.id].final
            final[job.id] = job.state
            assert (job.owner is not None) == (job.state is JobState.IN_PROGRESS) or (
                job.state is JobState.CANCELLED
            )
    assert not any(store.release(job) for job in late)
    store.close()


def take(store: JobStore, step: str, owner: Owner, held: list[Job], late: list[Job]) -> None:
    """One step of the model above. `held` are claims in force, `late` those that were lost."""
    if step == "submit":
        queue(store)
    elif step == "claim":
        job = store.claim(replace(ME), LEASE_S)
        held += [job] if job else []
    elif step == "crash":
        store.recover(owner)
        late += held
        held.clear()
    elif held:
        job = held.pop()
        late.append(job)
        if step == "complete":
            assert store.complete(job, JobOutcome("/r", 1, 1, 1, 1))
        elif step == "fail":
            assert store.fail(job, JobError("internal", ""))
        elif step == "release":
            assert store.release(job)
        else:
            store.cancel(job.id)
