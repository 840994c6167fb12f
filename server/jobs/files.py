"""Where everything of a job lies under DATA_DIR, and what may be reached there.

uploads/ inputs that the server owns; jobs/<id>/ a job's work (segments); results/<id>.mp4 and .jpg;
temp/ HeyGem's exchange folder; cache/ learned sources; run/ leases and locks. What it is not: rows.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from server.jobs.job import Job

# The data root inside the containers of HeyGem's own compose file; its clients send such paths.
HEYGEM_ROOT = PurePosixPath("/code/data")
_LONGEST_NAME_BYTES = 200


class PathRefusedError(ValueError):
    """A client's path does not lead to a file it may use; the message names path and roots."""


class JobFiles:
    """The folders of one DATA_DIR."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir
        self.uploads = data_dir / "uploads"
        self.jobs = data_dir / "jobs"
        self.results = data_dir / "results"
        self.temp = data_dir / "temp"
        self.cache = data_dir / "cache"
        self.run = data_dir / "run"

    def make(self) -> None:
        """Make the folders that are missing."""
        for folder in self.folders:
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those that the server writes into."""
        return (self.uploads, self.jobs, self.results, self.temp, self.cache, self.run)

    def refusal(self) -> str:
        """Why this process cannot write there, empty when it can; makes nothing."""
        for folder in (self.root, *self.folders):
            there = next(path for path in (folder, *folder.parents) if path.exists())
            if not os.access(there, os.W_OK | os.X_OK):
                return (
                    f"DATA_DIR={self.root}: user {os.getuid()} may not write to {there}. Give it to"
                    f" that user (chown -R {os.getuid()}:{os.getgid()} on the folder, on the host"
                    " where it is a container's), or set DATA_DIR to another one."
                )
        return ""

    def work_dir(self, job_id: str) -> Path:
        """Where the job's segments are."""
        return self.jobs / job_id

    def upload(self, job_id: str, role: str, suffix: str) -> Path:
        """Where an uploaded input lies; `role` is "video" or "audio", `suffix` has its dot."""
        return self.uploads / f"{job_id}-{role}{suffix}"

    def result(self, job_id: str) -> Path:
        """The finished video."""
        return self.results / f"{job_id}.mp4"

    def thumbnail(self, job_id: str) -> Path:
        """A picture of the finished video."""
        return self.results / f"{job_id}.jpg"

    def heygem_result(self, code: str) -> Path:
        """Where HeyGem's clients look for the finished video."""
        return self.temp / f"{code}-r.mp4"

    def free_bytes(self) -> int:
        """Free space where the data lies."""
        return shutil.disk_usage(self.root).free

    def publish(self, made: Path, job: Job) -> Path:
        """Move a whole, checked file into its place; where it is now.

        A HeyGem client's name for it is a second link to the same bytes, made first, so that
        nobody sees a finished job without its file.
        """
        target = self.result(job.id)
        target.parent.mkdir(parents=True, exist_ok=True)
        if made != target:
            _sync(made)
            made.replace(target)
        if job.request.code is not None:
            self._link(target, self.heygem_result(job.request.code))
        _sync(target.parent)
        return target

    def _link(self, target: Path, name: Path) -> None:
        name.parent.mkdir(parents=True, exist_ok=True)
        fresh = name.with_name(f".{name.name}.{os.getpid()}")
        fresh.unlink(missing_ok=True)
        try:
            fresh.hardlink_to(target)
        except OSError:
            # A file system without hard links, or temp/ on another one.
            shutil.copyfile(target, fresh)
        fresh.replace(name)
        # Renaming a link onto another link of the same file does nothing, and leaves it there.
        fresh.unlink(missing_ok=True)

    def heygem_input(self, text: str) -> Path:
        """The file that a HeyGem client means: a name in temp/, or a path inside the data root.

        Raises:
            PathRefusedError: it is not a file, or lies outside, by `..` or by a link.
        """
        wanted = self._wanted(text)
        try:
            found = wanted.resolve()
            root = self.root.resolve()
            inside = found.is_relative_to(root) and found.is_file()
        except (OSError, ValueError, RuntimeError):
            inside = False
            found = wanted
        if not inside:
            raise PathRefusedError(
                f"{text!r} was looked for at {found}: no file is there that this server may read. "
                f"Allowed are names in {self.temp} and paths inside {self.root} (also written as "
                f"{HEYGEM_ROOT})"
            )
        return found

    def _wanted(self, text: str) -> Path:
        pure = PurePosixPath(text)
        if pure.is_relative_to(HEYGEM_ROOT):
            return self.root / pure.relative_to(HEYGEM_ROOT)
        return Path(text) if pure.is_absolute() else self.temp / text

    def discard_inputs(self, job: Job) -> None:
        """Remove the inputs, where the server owns them."""
        if job.request.owns_inputs:
            for path in (Path(job.request.video_path), Path(job.request.audio_path)):
                if path.parent == self.uploads:
                    path.unlink(missing_ok=True)

    def discard_work(self, job_id: str) -> None:
        """Remove segments and everything else that was in work."""
        shutil.rmtree(self.work_dir(job_id), ignore_errors=True)

    def remove(self, job: Job) -> None:
        """Remove all that belongs to a job, its result too."""
        self.discard_inputs(job)
        self.discard_work(job.id)
        self.result(job.id).unlink(missing_ok=True)
        self.thumbnail(job.id).unlink(missing_ok=True)
        if job.request.code is not None and job.state.final:
            self.heygem_result(job.request.code).unlink(missing_ok=True)

    def owners(self, folder: Path, *, older_than_s: float) -> Iterator[tuple[str, Path]]:
        """(job id, path) of everything in a folder that has not changed for so long."""
        limit = time.time() - older_than_s
        for path in folder.iterdir() if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                if path.lstat().st_mtime < limit:
                    yield path.name.split("-")[0].split(".")[0], path


def check_code(code: str) -> str | None:
    """Why a client's code cannot be part of a file name, or None when it can."""
    if len(code.encode()) > _LONGEST_NAME_BYTES:
        return f"code is longer than {_LONGEST_NAME_BYTES} bytes"
    if code.startswith(".") or any(mark in code for mark in "/\\\0") or not code.isprintable():
        return f"code {code!r} must be a plain name: no slash, no leading dot, printable"
    return None


def _sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
