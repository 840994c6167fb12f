"""The roster: what each worker of this server last said of itself, in memory that all share.

What it is not: a channel for work, or the board (board.py), on which the master reads how boots
went. Any worker may be the one that answers a probe; through this it can speak for the others.
"""

from __future__ import annotations

import json
import mmap
import struct
import threading
import time
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass

_RECORDS = 64  # workers alive at once never come near; a record is used again after that many
_RECORD_BYTES = 128 * 1024
_HEAD = struct.Struct("<II")
_TRIES = 3
_TRY_S = 0.002


@dataclass(frozen=True)
class Presence:
    """One worker. `at`: when it said so, seconds since the epoch; `metrics`: Prometheus' text."""

    pid: int
    slot: int
    status: str
    reason: str
    device: str
    started_at: float
    at: float
    metrics: str = ""

    @property
    def age_s(self) -> float:
        """How long ago that was; more than a few seconds mean that the worker is stuck."""
        return max(0.0, time.time() - self.at)


@dataclass(frozen=True)
class Desk:
    """One worker's place in the roster."""

    roster: Roster
    offset: int

    def write(self, presence: Presence) -> None:
        """Replace what is said. Metrics that do not fit are left out."""
        data = _packed(presence)
        if len(data) > _RECORD_BYTES - _HEAD.size:
            data = _packed(Presence(**{**asdict(presence), "metrics": ""}))
        pages, start = self.roster.pages, self.offset + _HEAD.size
        with self.roster.lock:
            self.clear()
            pages[start : start + len(data)] = data
            _HEAD.pack_into(pages, self.offset, len(data), zlib.crc32(data))

    def clear(self) -> None:
        """Nobody sits here."""
        _HEAD.pack_into(self.roster.pages, self.offset, 0, 0)

    def read(self) -> Presence | None:
        """What is said; None where nobody sits, or who sits there died while writing."""
        for _ in range(_TRIES):
            length, check = _HEAD.unpack_from(self.roster.pages, self.offset)
            if not length and not check:
                return None
            start = self.offset + _HEAD.size
            data = self.roster.pages[start : start + length]
            if zlib.crc32(data) == check:
                return Presence(**json.loads(zlib.decompress(data)))
            time.sleep(_TRY_S)  # it is being written
        return None


class Roster:
    """All desks. Make it before the first fork; pages that nobody writes take no memory."""

    def __init__(self) -> None:
        self.pages = mmap.mmap(-1, _RECORDS * _RECORD_BYTES)
        self.lock = threading.Lock()  # for the threads of one worker

    def desk(self, age: int) -> Desk:
        """The place of the worker that Gunicorn numbers `age`."""
        return Desk(self, age % _RECORDS * _RECORD_BYTES)

    def all(self) -> list[Presence]:
        """Everyone who said something, by slot; while a server reloads, two may name one slot."""
        found = (self.desk(number).read() for number in range(_RECORDS))
        present = [presence for presence in found if presence is not None]
        return sorted(present, key=lambda presence: (presence.slot, presence.started_at))


def merged(texts: Iterable[tuple[int, str]], shared: frozenset[str]) -> str:
    """Several workers' metrics as one text, every sample labelled with its slot.

    Args:
        texts: (slot, metrics in Prometheus' text format); the first one's count for `shared`.
        shared: families that every worker tells alike; they are taken once, without a slot.
    """
    families: dict[str, list[str]] = {}
    for number, (slot, text) in enumerate(texts):
        name = ""
        for line in text.splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
            if name in shared and number:
                continue
            lines = families.setdefault(name, [])
            if not line.startswith("#"):
                lines.append(line if name in shared else _labelled(line, slot))
            elif line not in lines:
                lines.append(line)
    return "\n".join(line for lines in families.values() for line in lines) + "\n"


def _labelled(sample: str, slot: int) -> str:
    """`name{a="b"} 1` → `name{slot="0",a="b"} 1`."""
    end = min(at for mark in "{ " if (at := sample.find(mark)) >= 0)
    name, rest = sample[:end], sample[end:]
    if rest.startswith("{"):
        return f'{name}{{slot="{slot}",{rest[1:]}'
    return f'{name}{{slot="{slot}"}}{rest}'


def _packed(presence: Presence) -> bytes:
    return zlib.compress(json.dumps(asdict(presence)).encode(), 1)
