"""Posts jobs of small clips to a server and reads their rows."""

from __future__ import annotations

import requests

from server.jobs.job import Job
from server.jobs.store import JobStore
from tests.integration.clips import small_video, tone
from tests.integration.server import Server


def submit(server: Server, seconds: float) -> str:
    """Post a small video and a tone as long; the job's id."""
    with small_video().open("rb") as video, tone(seconds).open("rb") as audio:
        answer = requests.post(
            f"{server.base_url}/v1/videos", files={"video": video, "audio": audio}, timeout=60
        )
    assert answer.status_code == 200, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def jobs_of(store: JobStore) -> dict[str, Job]:
    """All jobs by id."""
    return {job.id: job for job in store.list(None, 100).jobs}
