"""Fetches one file over HTTP: in parts, from several addresses, checked, and in place whole or not
at all.

What it is not: the list of files (models/catalog.py) or a command (scripts/download_models.py).
What has come so far lies in `NAME.part`, and in `NAME.part.from` where it came from: another call
goes on from there. Bytes of two addresses are joined only where a checksum shows the mistake.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock, Timeout

from models.files import sha256

# What a cut connection loses at most of what came through it.
_BLOCK_BYTES = 64 * 1024
_CONNECT_S = 15.0
_READ_S = 60.0
_LONGEST_WAIT_S = 30.0
_SPARE_BYTES = 64 * 1024**2
# Statuses that may pass; any other refusal sends us to the next address.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class FetchError(RuntimeError):
    """The file cannot be fetched; the message says from where and why."""


class _TryNextError(Exception):
    """This address has not got the file."""


class _TryAgainError(Exception):
    """This address may have it in a moment."""

    def __init__(self, message: str, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s


@dataclass(frozen=True)
class Wanted:
    """A file to fetch. `urls` are tried in order; `size_bytes` 0 and `sha256` "" go unchecked."""

    urls: tuple[str, ...]
    target: Path
    size_bytes: int = 0
    sha256: str = ""

    @property
    def part(self) -> Path:
        """Where it grows."""
        return self.target.with_name(self.target.name + ".part")

    @property
    def origin(self) -> Path:
        """Where is noted what `part` is a part of."""
        return self.target.with_name(self.target.name + ".part.from")


# Told of the bytes that are there and of the whole, 0 where that is not known.
Progress = Callable[[int, int], None]


class Fetcher:
    """Fetches files. `tries`: attempts at one address without a new byte."""

    def __init__(self, tries: int = 4, pause_s: float = 1.0, read_s: float = _READ_S) -> None:
        self._tries = tries
        self._pause_s = pause_s
        self._timeout_s = (_CONNECT_S, read_s)
        self._session = requests.Session()

    def fetch(self, wanted: Wanted, progress: Progress = lambda have, whole: None) -> None:
        """Bring the file to its place.

        Raises:
            FetchError: no address gives it, the disk is too full, or another process fetches it.
        """
        wanted.target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(wanted.part.with_name(wanted.part.name + ".lock"), timeout=0)
        try:
            with lock:
                self._from_any(wanted, progress)
                Path(lock.lock_file).unlink(missing_ok=True)
        except Timeout:
            raise FetchError(f"{wanted.target} is being fetched by another process") from None

    def _from_any(self, wanted: Wanted, progress: Progress) -> None:
        said = []
        for url in wanted.urls:
            try:
                self._from_one(url, wanted, progress)
            except _TryNextError as error:
                said.append(f"{url}: {error}")
            else:
                return
        raise FetchError("; ".join(said) or "it has no address")

    def _from_one(self, url: str, wanted: Wanted, progress: Progress) -> None:
        failed, resumed = 0, _size(wanted.part) > 0
        while True:
            before = _size(wanted.part)
            try:
                self._request(url, wanted, progress)
            except _TryAgainError as error:
                failed = 0 if _size(wanted.part) > before else failed + 1
                if failed >= self._tries:
                    raise _TryNextError(str(error)) from error
                time.sleep(self._wait_s(failed, error))
                continue
            try:
                _settle(wanted)
            except _TryNextError:
                if not resumed:
                    raise
                resumed = False  # what was there before may have been the fault
            else:
                return

    def _wait_s(self, failed: int, error: _TryAgainError) -> float:
        if error.wait_s is not None:
            return min(error.wait_s, _LONGEST_WAIT_S)
        return min(self._pause_s * 2.0 ** max(0, failed - 1), _LONGEST_WAIT_S)

    def _request(self, url: str, wanted: Wanted, progress: Progress) -> None:
        headers = {"Accept-Encoding": "identity", **_resume(url, wanted)}
        try:
            with self._session.get(
                url, headers=headers, stream=True, timeout=self._timeout_s
            ) as answer:
                _check_status(answer)
                _receive(url, answer, wanted, progress)
        except requests.exceptions.InvalidURL as error:
            raise _TryNextError(str(error)) from error
        except requests.RequestException as error:
            raise _TryAgainError(f"{type(error).__name__}: {error}") from error


def _resume(url: str, wanted: Wanted) -> dict[str, str]:
    """Headers that ask for the rest; none where what is there cannot be gone on with."""
    have = _size(wanted.part)
    note = _noted(wanted)
    if not have:
        return {}
    if note.get("url") == url and note.get("tag"):
        return {"Range": f"bytes={have}-", "If-Range": note["tag"]}
    return {"Range": f"bytes={have}-"} if wanted.sha256 else {}


def _noted(wanted: Wanted) -> dict[str, str]:
    try:
        note = json.loads(wanted.origin.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _check_status(answer: requests.Response) -> None:
    status = answer.status_code
    if status in (200, 206, 416):
        return
    text = f"HTTP {status} {answer.reason or ''}".strip()
    if status in _PASSING:
        after = answer.headers.get("Retry-After", "")
        raise _TryAgainError(text, float(after) if after.isdigit() else None)
    raise _TryNextError(text)


def _receive(url: str, answer: requests.Response, wanted: Wanted, progress: Progress) -> None:
    if answer.status_code == 416:
        if wanted.size_bytes and _size(wanted.part) == wanted.size_bytes:
            return
        _forget(wanted)
        raise _TryAgainError("HTTP 416: what was there is longer than the file")
    begin, whole = _extent(answer, wanted)
    _check_whole(whole, wanted, begin)
    if not begin:
        _forget(wanted)
    tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
    # A weak tag does not promise equal bytes, and must not be sent in If-Range.
    note = {"url": url, "tag": "" if tag.startswith("W/") else tag}
    wanted.origin.write_text(json.dumps(note), encoding="utf-8")
    with wanted.part.open("r+b" if begin else "wb") as out:
        out.seek(begin)
        have = begin
        for block in answer.iter_content(_BLOCK_BYTES):
            out.write(block)
            have += len(block)
            progress(have, whole)
        out.flush()
        os.fsync(out.fileno())
    if whole and have != whole:
        raise _TryAgainError(f"{have} of {whole} bytes came")


def _extent(answer: requests.Response, wanted: Wanted) -> tuple[int, int]:
    """Where the answer begins in the file, and the size of the whole file (0: not said)."""
    if answer.status_code == 200:
        return 0, int(answer.headers.get("Content-Length") or 0)
    have = _size(wanted.part)
    kind, _, span = answer.headers.get("Content-Range", "").partition(" ")
    first, _, whole = span.partition("-")
    if kind != "bytes" or first != str(have):
        _forget(wanted)
        raise _TryAgainError(f"bytes from {have} were asked for, {span or 'others'} came")
    total = whole.rpartition("/")[2]
    return have, int(total) if total.isdigit() else 0


def _check_whole(whole: int, wanted: Wanted, have: int) -> None:
    if whole and wanted.size_bytes and whole != wanted.size_bytes:
        raise _TryNextError(f"it has {whole} bytes there, should have {wanted.size_bytes}")
    need = (whole or wanted.size_bytes) - have + _SPARE_BYTES
    free = shutil.disk_usage(wanted.target.parent).free
    if free < need:
        raise FetchError(f"{wanted.target.parent} has {free} bytes free; {need} are needed")


def _settle(wanted: Wanted) -> None:
    """Check what came and put it in its place; what is wrong is thrown away."""
    size = _size(wanted.part)
    found = sha256(wanted.part) if wanted.sha256 else ""
    if wanted.size_bytes and size != wanted.size_bytes:
        _forget(wanted)
        raise _TryNextError(f"{size} bytes came, should be {wanted.size_bytes}")
    if found != wanted.sha256:
        _forget(wanted)
        raise _TryNextError(f"sha256 is {found}, should be {wanted.sha256}")
    wanted.part.replace(wanted.target)
    wanted.origin.unlink(missing_ok=True)


def _forget(wanted: Wanted) -> None:
    wanted.part.unlink(missing_ok=True)
    wanted.origin.unlink(missing_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def addresses(url: str, path: str, mirrors: tuple[str, ...]) -> Iterator[str]:
    """Where to look for a file, in order. Under a mirror it may lie by its name in WEIGHTS_DIR
    (`path`) or by the path of its own address; "source" among the mirrors is that address.
    """
    own_path = url.split("://", 1)[-1].partition("/")[2]
    for mirror in mirrors if "source" in mirrors else (*mirrors, "source"):
        if mirror == "source":
            yield url
        else:
            base = mirror.rstrip("/")
            yield f"{base}/{path}"
            yield f"{base}/{own_path}"
