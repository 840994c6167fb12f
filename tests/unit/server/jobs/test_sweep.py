"""Removal of what nobody needs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from server.jobs.files import JobFiles
from server.jobs.job import Job, JobError
from server.jobs.store import JobStore
from server.jobs.sweep import ORPHAN_S, sweep
from tests.unit.server.jobs.rows import claim, queue


def age(path: Path) -> None:
    old = time.time() - ORPHAN_S - 60
    os.utime(path, (old, old))


def litter(files: JobFiles, job_id: str) -> list[Path]:
    made = [files.upload(job_id, "video", ".mp4"), files.result(job_id), files.thumbnail(job_id)]
    for path in made:
        path.touch()
    work = files.work_dir(job_id)
    work.mkdir()
    (work / "segment").touch()
    made.append(work)
    for path in made:
        age(path)
    return made


def finished(store: JobStore) -> Job:
    queue(store)
    job = claim(store)
    store.fail(job, JobError("internal", ""))
    return job


def test_a_job_goes_with_its_files_when_its_time_is_over(store: JobStore, tmp_path: Path) -> None:
    files = JobFiles(tmp_path)
    files.make()
    job = finished(store)
    made = litter(files, job.id)
    assert sweep(store, files, keep_s=-1) == 1
    assert store.get(job.id) is None
    assert not any(path.exists() for path in made)


def test_a_job_within_its_time_is_kept(store: JobStore, tmp_path: Path) -> None:
    files = JobFiles(tmp_path)
    files.make()
    job = finished(store)
    assert sweep(store, files, keep_s=3600) == 0
    assert store.get(job.id) is not None


def test_old_files_without_a_job_go_and_young_ones_stay(store: JobStore, tmp_path: Path) -> None:
    files = JobFiles(tmp_path)
    files.make()
    orphans = litter(files, "video_gone")
    young = files.uploads / "part-1"
    young.touch()
    sweep(store, files, keep_s=3600)
    assert not any(path.exists() for path in orphans)
    assert young.exists()


def test_a_waiting_job_keeps_its_inputs_and_segments(store: JobStore, tmp_path: Path) -> None:
    files = JobFiles(tmp_path)
    files.make()
    made = litter(files, queue(store).id)
    sweep(store, files, keep_s=3600)
    assert all(path.exists() for path in made)


def test_a_finished_job_keeps_its_result_but_no_inputs(store: JobStore, tmp_path: Path) -> None:
    files = JobFiles(tmp_path)
    files.make()
    upload, result, _, work = litter(files, finished(store).id)
    sweep(store, files, keep_s=3600)
    assert result.exists()
    assert not upload.exists()
    assert not work.exists()


def test_what_was_learned_of_a_video_goes_when_no_job_used_it_for_long(
    store: JobStore, tmp_path: Path
) -> None:
    files = JobFiles(tmp_path)
    files.make()
    old, used = files.cache / "old", files.cache / "used"
    for folder in (old, used):
        folder.mkdir()
        (folder / "rows").touch()
    age(old)
    sweep(store, files, keep_s=ORPHAN_S)
    assert not old.exists()
    assert used.exists()
