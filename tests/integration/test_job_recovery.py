"""Jobs outlive their workers: kill -9, SIGTERM, a new server on the old data."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import av
import pytest

from server.jobs.job import Job, JobState
from server.jobs.store import JobStore, open_store
from server.settings import load_settings
from tests.integration.posts import jobs_of, submit
from tests.integration.server import Server, start_server

JOBS = 10
SECONDS = 4.0


def segments(data_dir: Path) -> dict[str, tuple[int, int]]:
    """What identifies each finished segment on disk: (inode, time of writing)."""
    found = {}
    for path in data_dir.glob("jobs/*/segment_*.ts"):
        stat = path.stat()
        found[f"{path.parent.name}/{path.name}"] = (stat.st_ino, stat.st_mtime_ns)
    return found


@pytest.mark.slow
def test_ten_jobs_complete_once_though_the_worker_is_killed_three_times() -> None:
    chance = random.Random(4)  # noqa: S311 - moments of a test
    with start_server({"SEGMENT_S": "0.5"}) as server:
        store = open_store(load_settings(data_dir=server.data_dir))
        made = [submit(server, SECONDS) for _ in range(JOBS)]
        kept: dict[str, tuple[int, int]] = {}
        for _ in range(3):
            worker = server.worker_pid
            count = len(segments(server.data_dir))
            wait_for_segments(server, count + 1)
            time.sleep(chance.random())
            server.signal(signal.SIGKILL, worker)
            kept |= segments(server.data_dir)
            server.wait_ready(not_pid=worker)
        server.wait(lambda: ended(store), "the end of all jobs", 150, every_s=0.5)
        now = jobs_of(store)
        assert sorted(now) == sorted(made)
        assert {job.state for job in now.values()} == {JobState.COMPLETED}
        after = segments(server.data_dir)
        assert {name: after.get(name) for name in kept} == kept, "finished segments were made again"
        assert sum(job.attempt - 1 for job in now.values()) <= 3 * 2
        for job in now.values():
            check_result(job)
        assert server.log.count("job_completed") == JOBS
        store.close()


def wait_for_segments(server: Server, count: int) -> None:
    server.wait(lambda: len(segments(server.data_dir)) >= count, f"{count} segments", 60)


def ended(store: JobStore) -> bool:
    counts = store.counts()
    return counts[JobState.QUEUED] + counts[JobState.IN_PROGRESS] == 0


def check_result(job: Job) -> None:
    assert job.outcome is not None
    path = Path(job.outcome.path)
    assert path.stat().st_size == job.outcome.bytes
    with av.open(str(path)) as made:
        video = made.streams.video[0]
        frames = sum(1 for _ in made.decode(video))
        assert frames == pytest.approx(SECONDS * float(video.average_rate or 0), abs=1)
        made.seek(0)
        sound = sum(frame.samples for frame in made.decode(audio=0))
        rate = made.streams.audio[0].rate
        assert sound / rate == pytest.approx(SECONDS, abs=0.1)


def test_a_terminated_server_gives_its_job_back_and_the_next_one_finishes_it(
    tmp_path: Path,
) -> None:
    env: dict[str, Any] = {"SEGMENT_S": "0.5", "DATA_DIR": str(tmp_path / "data")}
    store = open_store(load_settings(data_dir=tmp_path / "data"))
    with start_server(env) as server:
        job_id = submit(server, 10.0)
        server.wait(lambda: len(segments(tmp_path / "data")) > 1, "two segments")
        began = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        server.wait_exit()
        assert time.monotonic() - began < 10
    job = jobs_of(store)[job_id]
    assert (job.state, job.crashes) == (JobState.QUEUED, 0)
    assert job.segments_done >= 2
    kept = segments(tmp_path / "data")
    with start_server(env) as server:
        server.wait(lambda: jobs_of(store)[job_id].state.final, "the end", 90)
        after = segments(tmp_path / "data")
    assert jobs_of(store)[job_id].state is JobState.COMPLETED
    assert {name: after.get(name) for name in kept} == kept
    store.close()
