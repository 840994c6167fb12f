"""Makes stores and jobs for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from server.jobs.claims import Owner
from server.jobs.job import Job, JobRequest
from server.jobs.store import JobStore, Submission, new_job_id, open_store
from server.settings import Settings, load_settings

ME = Owner("host", 0, 100, 1.0)
LEASE_S = 30.0


def settings_in(folder: Path, **changes: object) -> Settings:
    """Settings whose data lie in `folder`."""
    return load_settings(data_dir=folder / "data", **changes)


def store_in(folder: Path, **changes: object) -> JobStore:
    """A fresh store."""
    return open_store(settings_in(folder, **changes))


def submission_of(fingerprint: str = "same", **request: Any) -> Submission:
    """A submission with plain values."""
    values = {"video_path": "/v", "audio_path": "/a", "model": "viseme", **request}
    return Submission(new_job_id(), JobRequest(**values), fingerprint, 7.5, 64, 48)


def queue(store: JobStore, **request: Any) -> Job:
    """A new queued job."""
    return store.submit(submission_of(new_job_id(), **request), 100).job


def claim(store: JobStore, owner: Owner = ME) -> Job:
    """The next job; there must be one."""
    job = store.claim(owner, LEASE_S)
    assert job is not None
    return job


def look(store: JobStore, job: Job) -> Job:
    """The job as it is now; it must exist."""
    now = store.get(job.id)
    assert now is not None
    return now
