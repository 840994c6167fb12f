"""Latents of a video's frames on disk, one slot of a file for each frame.

What it is not: needed. Jobs and processes write and read at once without a lock: a slot that was
half written, or is of another rectangle, does not pass its check and is made again. The file is
sparse; a frame takes 16 KiB.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from models.lipsync.muse.box import Edges

LATENT_SHAPE = (8, 32, 32)
_PAYLOAD = int(np.prod(LATENT_SHAPE)) * 2
# Magic, checksum of all that follows, the face's rectangle.
_HEAD = struct.Struct("<4sI4i")
_SLOT = 64 + _PAYLOAD
_MAGIC = b"MLT1"
_MOST_FRAMES = 10_000_000

_log = structlog.get_logger("models.lipsync.muse")


class LatentStore:
    """The latents of one video by one encoder. `folder` may be unwritable: then nothing is kept."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._path = folder / f"latents-{fingerprint}.bin"
        self._silent = False

    def get(self, frame: int, box: Edges) -> NDArray[np.float16] | None:
        """Latents [8, 32, 32] of a frame's rectangle, or None where there are none that hold."""
        try:
            with self._path.open("rb") as file:
                data = os.pread(file.fileno(), _SLOT, frame * _SLOT)
        except OSError:
            return None
        head = _head(box, data[64:])
        if len(data) < _SLOT or data[: len(head)] != head:
            return None
        return np.frombuffer(data, np.float16, offset=64).reshape(LATENT_SHAPE)

    def put(
        self, frames: Sequence[int], boxes: Sequence[Edges], latents: NDArray[np.float16]
    ) -> None:
        """Keep latents [N, 8, 32, 32]. An error of the disk is told once and costs time only."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._path, os.O_CREAT | os.O_WRONLY, 0o644)
            try:
                for frame, box, each in zip(frames, boxes, latents, strict=True):
                    _write(handle, frame, box, each)
            finally:
                os.close(handle)
        except OSError as error:
            if not self._silent:
                _log.warning("latents not kept", path=str(self._path), error=str(error))
            self._silent = True


def _write(handle: int, frame: int, box: Edges, latents: NDArray[np.float16]) -> None:
    if not 0 <= frame < _MOST_FRAMES:
        return
    payload = np.ascontiguousarray(latents, np.float16).tobytes()
    os.pwrite(handle, _head(box, payload).ljust(64, b"\0") + payload, frame * _SLOT)


def _head(box: Edges, payload: bytes) -> bytes:
    place = struct.pack("<4i", *box.numbers)
    return _HEAD.pack(_MAGIC, zlib.crc32(payload, zlib.crc32(place)), *box.numbers)
