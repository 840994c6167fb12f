"""What was learned about a source video, kept on disk under the hash of its content.

What it is not: needed. A missing or damaged entry is made anew; a damaged one is logged.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from trans_dh_service.plan import write_whole

_BLOCK_BYTES = 1024 * 1024
_log = structlog.get_logger(__name__)


def content_hash(path: Path) -> str:
    """BLAKE2b of the whole file, 32 hex digits (about 1 GB/s)."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def open_folder(cache_dir: Path, name: str) -> Path:
    """The folder of one video. Its time of change is set to now, so that what is in use stays."""
    folder = cache_dir / name
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
    return folder


def save_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays to one file, whole or not at all. Loss of the cache is no loss of a job, so an
    error of the disk is logged only.
    """
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getvalue())
    except OSError as error:
        _log.warning("cache not written", path=str(path), error=str(error))


def load_arrays(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays of a file, or None where there is none or it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return {name: data[name] for name in data.files}
    except FileNotFoundError:
        return None
    except (
        OSError,
        ValueError,
        TypeError,
        AttributeError,
        EOFError,
        KeyError,
        zipfile.BadZipFile,
    ) as error:
        _log.warning("cache entry damaged, ignored", path=str(path), error=str(error))
        return None
