"""Several workers on one machine: one store, every job once, long jobs made together. CPU slots
stand for GPUs.
"""

from __future__ import annotations

import hashlib
import re
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import requests

from server.jobs.job import Job, JobState
from server.jobs.store import JobStore, open_store
from server.settings import load_settings
from tests.integration.posts import jobs_of, submit
from tests.integration.server import Server, start_server

pytestmark = pytest.mark.slow

JOBS = 6
LONG_S = 10.0


def several(count: int, **env: str) -> Server:
    """A server with so many workers, all ready."""
    names = ",".join(str(number) for number in range(count))
    server = start_server(
        {
            "DEVICE": "cpu",
            "DEVICE_SLOTS": names,
            "GUNICORN_WORKERS": str(count),
            "MAX_CONCURRENT_JOBS": "1",
            "SEGMENT_S": "0.5",
            "JOB_LEASE_S": "4",
            "ENCODER_THREADS": "1",
            **env,
        }
    )
    try:
        wait_all_ready(server, count)
    except BaseException:
        server.stop()
        raise
    return server


def wait_all_ready(server: Server, count: int) -> None:
    server.wait(lambda: len(ready_pids(server)) >= count, f"{count} ready workers", 150)


def ready_pids(server: Server) -> set[int]:
    """Processes that became ready and live."""
    health = server.get("/health").json
    return {worker["pid"] for worker in health["workers"] if worker["status"] == "ready"}


def ended(store: JobStore) -> bool:
    counts = store.counts()
    return counts[JobState.QUEUED] + counts[JobState.IN_PROGRESS] == 0


def log_of(server: Server) -> str:
    """The log without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", server.log)


def started(server: Server) -> Counter[str]:
    """How often each job was begun, by the log."""
    return Counter(re.findall(r"job_started .*?job_id=(\S+)", log_of(server)))


def segments_by_worker(server: Server) -> dict[int, list[int]]:
    """The segments that each process finished, by the log."""
    made: dict[int, list[int]] = {}
    for index, pid in re.findall(r"segment_finished .*?index=(\d+) .*?pid=(\d+)", log_of(server)):
        made.setdefault(int(pid), []).append(int(index))
    return made


def fingerprints(path: Path) -> list[str]:
    """A hash of every decoded picture, then one of the sound."""
    with av.open(str(path)) as made:
        found = [
            hashlib.sha256(frame.to_ndarray().tobytes()).hexdigest()
            for frame in made.decode(video=0)
        ]
        made.seek(0)
        sound = b"".join(frame.to_ndarray().tobytes() for frame in made.decode(audio=0))
    return [*found, hashlib.sha256(sound).hexdigest()]


@pytest.fixture(scope="module")
def four() -> Iterator[Server]:
    """Four workers on four slots; long jobs are shared."""
    with several(4, SPLIT_MIN_SEGMENTS="8", SPLIT_RANGE_SEGMENTS="3") as server:
        yield server


@pytest.fixture
def store(four: Server) -> Iterator[JobStore]:
    opened = open_store(load_settings(data_dir=four.data_dir))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def unsplit() -> list[str]:
    """The pictures and the sound of the long job, made by one worker that is alone."""
    with several(1) as server:
        store = open_store(load_settings(data_dir=server.data_dir))
        job_id = submit(server, LONG_S)
        server.wait(lambda: ended(store), "the end of the job", 150)
        outcome = jobs_of(store)[job_id].outcome
        assert outcome is not None
        assert set(started(server).values()) == {1}
        assert "job_shared" not in server.log
        store.close()
        return fingerprints(Path(outcome.path))


def test_every_worker_has_a_slot_of_its_own_and_each_one_tells_of_all(four: Server) -> None:
    workers = four.ops("/health").json["workers"]
    assert [worker["slot"] for worker in workers] == [0, 1, 2, 3]
    assert len({worker["pid"] for worker in workers}) == 4
    locks = sorted(path.name for path in four.data_dir.glob("run/device-*.lock"))
    assert locks == [f"device-cpu-{number}.lock" for number in range(4)]
    text = four.ops("/metrics").body.decode()
    assert [f'mouthpiece_rss_bytes{{slot="{number}"}}' in text for number in range(4)] == [True] * 4
    assert 'mouthpiece_jobs{state="queued"}' in text


def test_four_workers_share_one_queue_and_a_killed_one_s_job_is_taken_over(
    four: Server, store: JobStore
) -> None:
    known = set(jobs_of(store))
    made = [submit(four, 2.0) for _ in range(JOBS)]

    def busy() -> Job | None:
        running = [jobs_of(store)[name] for name in made]
        return next((j for j in running if j.state is JobState.IN_PROGRESS and j.owner), None)

    victim: Job = four.wait(busy, "a job in work", every_s=0.01)
    assert victim.owner is not None
    slot, pid = (int(part) for part in victim.owner.split(":")[1:3])
    four.signal(signal.SIGKILL, pid)
    began = time.monotonic()

    def recovered() -> bool:
        now = jobs_of(store)[victim.id]
        return now.crashes == 1 or now.attempt > victim.attempt

    four.wait(recovered, "the recovery", 20, every_s=0.01)
    # The lease and the round of recovery, and some time on a busy machine. On its old place in the
    # queue the job is the next that a free worker takes.
    assert time.monotonic() - began < 4 + 5 + 4
    assert store.position(victim.id) in (1, None)
    four.wait(lambda: ended(store), "the end of all jobs", 150)
    after = {name: job for name, job in jobs_of(store).items() if name not in known}
    assert sorted(after) == sorted(made)
    assert {job.state for job in after.values()} == {JobState.COMPLETED}
    counts = started(four)
    # Only what the dead worker held was begun twice.
    assert {name for name in made if counts[name] > 1} <= {victim.id}
    assert all(after[name].attempt == counts[name] for name in made)
    assert log_of(four).count("job_completed") >= JOBS
    wait_all_ready(four, 4)
    workers = four.get("/health").json["workers"]
    assert [worker["slot"] for worker in workers] == [0, 1, 2, 3]
    assert pid not in {worker["pid"] for worker in workers}
    assert slot in range(4)


def test_a_shared_job_has_the_very_pictures_of_an_unshared_one_though_a_helper_is_killed(
    four: Server, store: JobStore, unsplit: list[str]
) -> None:
    wait_all_ready(four, 4)
    before = segments_by_worker(four)
    job_id = submit(four, LONG_S)

    def helped() -> re.Match[str] | None:
        return re.search(
            rf"range_started .*server.jobs.helper.*job_id={job_id}.*?pid=(\d+)", log_of(four)
        )

    victim = int(four.wait(helped, "a helper", every_s=0.02)[1])
    four.signal(signal.SIGKILL, victim)
    four.wait(lambda: ended(store), "the end of the job", 150)
    job = jobs_of(store)[job_id]
    assert (job.state, job.attempt, job.crashes) == (JobState.COMPLETED, 1, 0)
    assert job.segments_done == job.segments_total
    made = {
        pid: indices[len(before.get(pid, [])) :]
        for pid, indices in segments_by_worker(four).items()
        if indices[len(before.get(pid, [])) :]
    }
    assert len(made) >= 2, made
    assert sorted(index for indices in made.values() for index in indices) == list(
        range(job.segments_total)
    ), "a segment was made twice, or not at all"
    assert job.outcome is not None
    assert fingerprints(Path(job.outcome.path)) == unsplit


def test_helpers_stop_when_the_job_is_cancelled(four: Server, store: JobStore) -> None:
    wait_all_ready(four, 4)
    job_id = submit(four, 30.0)
    pattern = rf"range_started .*server.jobs.helper.*job_id={job_id}"
    four.wait(lambda: re.search(pattern, log_of(four)), "a helper", every_s=0.02)
    answer = requests.post(f"{four.base_url}/v1/videos/{job_id}/cancel", timeout=10)
    assert answer.status_code == 200, answer.text
    stopped = rf"range_stopped .*job_id={job_id}"
    four.wait(
        lambda: (
            len(re.findall(stopped, log_of(four)))
            >= len(re.findall(pattern, log_of(four)))
            - len(re.findall(rf"range_finished .*job_id={job_id}", log_of(four)))
        ),
        "the helpers' end",
        10,
    )
    four.wait(lambda: "job_stopped" in four.log, "the end of the job's worker", 10)
    four.wait(lambda: not (four.data_dir / "jobs" / job_id).exists(), "a clean disk", 10)


def test_more_workers_than_devices_are_refused_with_the_reason() -> None:
    env = {"DEVICE": "cpu", "DEVICE_SLOTS": "0,1", "GUNICORN_WORKERS": "3"}
    server = start_server(env, ready=False)
    try:
        server.wait(lambda: server.process.poll() is not None, "end")
        assert server.process.returncode == 2
        assert "3 workers for 2 device slot(s) (cpu-0, cpu-1; DEVICE=cpu)" in server.log
        assert "GUNICORN_WORKERS=2" in server.log
    finally:
        server.stop()


def test_contradictions_of_the_gpu_configuration_are_refused_with_the_reason() -> None:
    env = {"DEVICE": "cpu", "DEVICE_SLOTS": "0,1", "GPU_CONFIG": "quad_4090_24gb"}
    server = start_server(env, ready=False)
    try:
        server.wait(lambda: server.process.poll() is not None, "end")
        assert server.process.returncode == 2
        assert "GPU_CONFIG=quad_4090_24gb takes 4 devices and there is only 2" in server.log
        assert "Traceback" not in server.log
    finally:
        server.stop()
