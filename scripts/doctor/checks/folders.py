"""Folders: can DATA_DIR be written, and is there room?

What it is not: the temporary folders of jobs. It writes one small file into each folder and takes
it away again; it makes no folder.
"""

from __future__ import annotations

import os
import pwd
import shutil
from collections.abc import Iterator
from pathlib import Path

from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import Look
from server.settings import Settings, load_settings

_GIB = 1024**3
#: Folders that jobs write to (docs/architecture.md, "Where things lie").
PARTS = ("", "uploads", "jobs", "results", "temp", "cache", "run")
_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "glusterfs", "ceph", "lustre"}
_MOUNTS = Path("/proc/self/mounts")


def check(_look: Look) -> Iterator[Finding]:
    """Try DATA_DIR and its folders."""
    settings = load_settings()
    top = nearest(settings.data_dir)
    there = [path for part in PARTS if (path := settings.data_dir / part).is_dir()]
    wrong = [text for folder in there or [top] if (text := unwritable(folder))]
    if wrong:
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        mend = _mend(settings.data_dir)
        yield found("data-read-only", f"{wrong[0]}{more}", remedy=mend)
    yield from room(settings, top)
    kind = file_system(top, _MOUNTS.read_text(encoding="utf-8"))
    if kind in _NETWORK and settings.database.startswith("sqlite"):
        yield found("data-on-network", f"{settings.data_dir} is on {kind}")


def nearest(path: Path) -> Path:
    """The folder itself, or the first above it that is there."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def unwritable(folder: Path) -> str:
    """Why no file can be made in a folder; empty when one can."""
    trial = folder / f".doctor-{os.getpid()}"
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        return f"{folder}: {error.strerror or error} ({_owner(folder)})"
    return ""


def _owner(folder: Path) -> str:
    state = folder.stat()
    mode = f"{state.st_mode & 0o7777:o}"
    return f"owner {_name(state.st_uid)}, mode {mode}, we are {_name(os.geteuid())}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _mend(folder: Path) -> str:
    there = nearest(folder)
    if os.access(there, os.W_OK) or os.geteuid() == 0:
        return f"mount -o remount,rw {there}, or DATA_DIR=a-folder-that-can-be-written"
    return f"sudo chown -R {_name(os.geteuid())} {there}, or DATA_DIR=a-folder-of-yours"


def room(settings: Settings, top: Path) -> Iterator[Finding]:
    """Bytes and inodes that are free where the data lies."""
    disk, state = shutil.disk_usage(top), os.statvfs(top)
    text = f"{disk.free / _GIB:.2f} of {disk.total / _GIB:.1f} GiB free at {settings.data_dir}"
    if state.f_files and not state.f_favail:
        yield found("disk-full", f"no inode is left at {settings.data_dir}", path=top)
    elif disk.free < settings.min_free_disk_bytes:
        least = f"MIN_FREE_DISK_BYTES={settings.min_free_disk_bytes}"
        yield found("disk-full", f"{text}, below {least}", path=top)
    elif disk.free < settings.min_free_disk_bytes + settings.max_upload_bytes:
        most = f"MAX_UPLOAD_BYTES={settings.max_upload_bytes}"
        yield found("disk-low", f"{text}: too little for an upload of {most}", path=top)
    else:
        yield nice(text if top == settings.data_dir else f"{text}, made at the start")


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system that a path lies on, from the text of /proc/self/mounts."""
    best, kind = "", ""
    for line in mounts.splitlines():
        _, point, found_kind, *_ = line.split(" ")
        point = point.replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found_kind
    return kind
