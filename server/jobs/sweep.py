"""Removes what nobody needs any more: jobs past KEEP_RESULTS_H and files without a job.

What it is not: a timer; the runner calls it now and then.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from server.jobs.files import JobFiles
from server.jobs.job import JobState
from server.jobs.store import JobStore

# An upload in progress has no row yet, and its file is younger than this as long as bytes come.
ORPHAN_S = 3600.0


def sweep(store: JobStore, files: JobFiles, keep_s: float) -> int:
    """Remove jobs that ended more than `keep_s` ago, then orphans. How many jobs were removed."""
    removed = 0
    limit = time.time() - keep_s
    while old := store.finished_before(limit):
        for job in old:
            store.delete(job.id)
            files.remove(job)
        removed += len(old)
    _sweep_folder(store, files, files.uploads, _needs_inputs)
    _sweep_folder(store, files, files.jobs, _needs_work)
    _sweep_folder(store, files, files.results, _exists)
    _sweep_cache(files.cache, limit)
    return removed


def _sweep_cache(cache: Path, limit: float) -> None:
    """Forget videos that no job has used since `limit`; every use touches the video's folder."""
    for folder in cache.iterdir() if cache.is_dir() else ():
        if folder.is_dir() and folder.stat().st_mtime < limit:
            shutil.rmtree(folder, ignore_errors=True)


def _needs_inputs(state: JobState | None) -> bool:
    return state is not None and not state.final


def _needs_work(state: JobState | None) -> bool:
    return state is JobState.COMPLETED or _needs_inputs(state)


def _exists(state: JobState | None) -> bool:
    return state is not None


def _sweep_folder(
    store: JobStore, files: JobFiles, folder: Path, needed: Callable[[JobState | None], bool]
) -> None:
    found = list(files.owners(folder, older_than_s=ORPHAN_S))
    states = store.states({name for name, _ in found})
    for name, path in found:
        if needed(states.get(name)):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
