"""The board: a page of memory that master and workers share, where a worker writes how its boot
went.

What it is not: a channel for work or for big things. It outlives a worker that dies by a signal,
which an exit code or a log line does not.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from enum import IntEnum

_RECORDS = 64  # workers alive at once never come near; a record is used again after that many
_RECORD_BYTES = 1024
_HEAD = struct.Struct("<BH")
_COUNT = struct.Struct("<Q")


class Outcome(IntEnum):
    """How a worker's boot went so far."""

    BOOTING = 0
    READY = 1
    FAILED = 2
    REFUSED = 3
    STOPPED = 4
    """BOOTING and FAILED count as a boot that failed; REFUSED ends the server at once (another try
    cannot help); STOPPED was asked to end while booting."""


@dataclass(frozen=True)
class Note:
    """One worker's record."""

    pages: mmap.mmap
    offset: int

    def write(self, outcome: Outcome, text: str = "") -> None:
        """Replace the record. `text` is cut to what fits."""
        data = text.encode()[: _RECORD_BYTES - _HEAD.size]
        start = self.offset + _HEAD.size
        self.pages[start : start + len(data)] = data
        _HEAD.pack_into(self.pages, self.offset, outcome, len(data))

    def read(self) -> tuple[Outcome, str]:
        """The record."""
        outcome, length = _HEAD.unpack_from(self.pages, self.offset)
        start = self.offset + _HEAD.size
        return Outcome(outcome), self.pages[start : start + length].decode(errors="replace")


class Board:
    """All records, and the number of workers ever started. Make it before the first fork."""

    def __init__(self) -> None:
        self._pages = mmap.mmap(-1, (_RECORDS + 1) * _RECORD_BYTES)

    def note(self, age: int) -> Note:
        """The record of the worker that Gunicorn numbers `age`."""
        return Note(self._pages, (1 + age % _RECORDS) * _RECORD_BYTES)

    def count_start(self) -> None:
        """One more worker is started (called by the master only)."""
        _COUNT.pack_into(self._pages, 0, self.starts + 1)

    @property
    def starts(self) -> int:
        """Workers started since the server began."""
        count: int = _COUNT.unpack_from(self._pages, 0)[0]
        return count
