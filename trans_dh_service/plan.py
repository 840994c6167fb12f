"""How a dub is cut up: frames, segments, which source frame is shown when; and the HLS playlist.

What it is not: the work. Plain arithmetic and small files; imports nothing heavy, so that HTTP may
use it.
"""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable, Generator, Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

from trans_dh_service.task import Loop

PLAN_FILE = "plan.json"
VERSION = 1


@dataclass(frozen=True)
class Plan:
    """The result's shape. `source_frames` is the length of one pass through the video at `fps`;
    `fingerprint` names the inputs and settings, so that a resume never mixes two jobs.
    """

    fps: Fraction
    frames: int
    segment_frames: int
    width_px: int
    height_px: int
    source_frames: int
    loop: Loop
    seconds: float
    fingerprint: str

    @property
    def segments(self) -> int:
        """Number of segments; the last lasts between half and one and a half of the others (a
        stub of a few frames would stall players).
        """
        return max(1, (self.frames + self.segment_frames // 2) // self.segment_frames)

    def start(self, segment: int) -> int:
        """First frame of a segment; `segments` itself gives the end."""
        return self.frames if segment >= self.segments else segment * self.segment_frames

    def segment_s(self, segment: int) -> float:
        """Length of a segment in seconds."""
        return float((self.start(segment + 1) - self.start(segment)) / self.fps)


Share = Callable[[Path, Plan], Generator[tuple[int, int], None, None]]
"""Deals out the segments of a work folder as ranges (first, end), when several workers make one
dub: asked for the next range, it may take the one before as made; it ends when every segment is
there, and is closed when the dub ends early.
"""


@dataclass(frozen=True)
class Run:
    """Source frames `start`, `start + step`, ... up to but without `stop`; `step` is 1 or -1."""

    start: int
    stop: int
    step: int

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return abs(self.stop - self.start)


def frames_for(seconds: float, fps: Fraction) -> int:
    """Frames that last as long as the sound, to within half a frame; at least one."""
    return max(1, math.floor(seconds * fps + Fraction(1, 2)))


def segment_frames_for(segment_s: float, fps: Fraction) -> int:
    """Frames per segment, at least one."""
    return max(1, round(segment_s * fps))


def source_frame(index: int, length: int, loop: Loop) -> int:
    """The source frame shown at output frame `index`.

    Back and forth does not show the first and last frame twice: its period is 2 * length - 2.
    """
    if length == 1:
        return 0
    if loop is Loop.RESTART:
        return index % length
    at = index % (2 * length - 2)
    return at if at < length else 2 * length - 2 - at


def runs(first: int, last: int, length: int, loop: Loop) -> Iterator[Run]:
    """The output frames `first` up to but without `last` as straight runs through the source."""
    at = first
    while at < last:
        here = source_frame(at, length, loop)
        if _backward(at, length, loop):
            count = min(here, last - at)
            yield Run(here, here - count, -1)
        else:
            count = min(length - here, last - at)
            yield Run(here, here + count, 1)
        at += count


def segment_path(work_dir: Path, index: int) -> Path:
    """Where segment `index` lies when it is finished."""
    return work_dir / f"segment_{index:05d}.ts"


def segments_done(work_dir: Path, plan: Plan) -> int:
    """Finished segments before the first missing one."""
    done = 0
    while done < plan.segments and segment_path(work_dir, done).is_file():
        done += 1
    return done


def gaps(
    work_dir: Path, plan: Plan, first: int = 0, end: int | None = None
) -> list[tuple[int, int]]:
    """The missing segments from `first` up to but without `end` as ranges, in order."""
    found: list[tuple[int, int]] = []
    for index in range(first, plan.segments if end is None else end):
        if segment_path(work_dir, index).is_file():
            continue
        if found and found[-1][1] == index:
            found[-1] = (found[-1][0], index + 1)
        else:
            found.append((index, index + 1))
    return found


def load_plan(work_dir: Path) -> Plan | None:
    """The plan of a dub, or None while there is none that can be read."""
    try:
        data = json.loads((work_dir / PLAN_FILE).read_text(encoding="utf-8"))
        if data.pop("version") != VERSION:
            return None
        return Plan(**{**data, "fps": Fraction(data["fps"]), "loop": Loop(data["loop"])})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def save_plan(work_dir: Path, plan: Plan) -> None:
    """Write the plan, whole or not at all."""
    data = {**asdict(plan), "fps": str(plan.fps), "loop": plan.loop.value, "version": VERSION}
    write_whole(work_dir / PLAN_FILE, json.dumps(data, indent=1).encode())


def part_path(path: Path) -> Path:
    """A name beside `path` that no other writer uses, for the time until it is whole."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it is there whole or not at all, even when two attempts
    at the same work write it at once.
    """
    part = part_path(path)
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def playlist(work_dir: Path, segment_url: Callable[[int], str]) -> str | None:
    """The HLS playlist of what is finished (RFC 8216, type EVENT), or None before there is a plan.

    It ends with ENDLIST once every segment is there.
    """
    plan = load_plan(work_dir)
    if plan is None:
        return None
    done = segments_done(work_dir, plan)
    longest_s = math.ceil(max(plan.segment_s(0), plan.segment_s(plan.segments - 1)))
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",
        f"#EXT-X-TARGETDURATION:{longest_s}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:EVENT",
        "#EXT-X-INDEPENDENT-SEGMENTS",
    ]
    for index in range(done):
        lines += [f"#EXTINF:{plan.segment_s(index):.6f},", segment_url(index)]
    if done == plan.segments:
        lines.append("#EXT-X-ENDLIST")
    return "\n".join(lines) + "\n"


def _backward(index: int, length: int, loop: Loop) -> bool:
    """Whether the output moves backward through the source from frame `index` on."""
    if loop is Loop.RESTART or length == 1:
        return False
    at = index % (2 * length - 2)
    return at >= length
