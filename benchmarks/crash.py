"""Kill -9 of the worker in mid-job: does every accepted job complete, once, without work done
twice?

    python -m benchmarks.crash [--video V --audio A] [--jobs 10] [--kills 3] [--seed 1]

Posts the jobs, kills the worker at random moments, waits, decodes every result. A segment that was
finished before a kill must not be made again. Prints a table, then one line of JSON; exits 1 when
something was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av
import requests

from benchmarks import client
from scripts.demo import RunningServer, running_server

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"


@dataclass(frozen=True)
class Outcome:
    """What came of the jobs. `remade` counts finished segments that were written again."""

    completed: int
    failed: int
    valid: int
    kills: int
    segments: int
    remade: int
    wall_s: float

    @property
    def lossless(self) -> bool:
        """All jobs completed with valid bytes and nothing was done twice."""
        return self.failed == 0 and self.valid == self.completed and self.remade == 0


def worker_pid(server: RunningServer) -> int:
    """The process that answers."""
    body = requests.get(f"{server.base}/gpu/status", timeout=30).json()
    return int(body["worker_pid"])


def kill_sometimes(server: RunningServer, kills: int, chance: random.Random) -> None:
    """Kill the worker `kills` times, each at a random moment of work."""
    for _ in range(kills):
        time.sleep(chance.uniform(2.0, 6.0))
        os.kill(worker_pid(server), signal.SIGKILL)
        time.sleep(0.5)


def frames_of(path: Path) -> tuple[int, int]:
    """Decoded video frames and audio samples."""
    with av.open(str(path)) as media:
        video = sum(1 for _ in media.decode(video=0))
    with av.open(str(path)) as media:
        audio = sum(frame.samples for frame in media.decode(audio=0))
    return video, audio


def segment_writes(log: Path) -> dict[tuple[str, int], int]:
    """How often each segment of each job was finished, from the server's log."""
    writes: dict[tuple[str, int], int] = {}
    for line in log.read_text(errors="replace").splitlines():
        start = line.find("{")
        if "segment_finished" not in line or start < 0:
            continue
        entry = json.loads(line[start:])
        key = (entry["job_id"], entry["index"])
        writes[key] = writes.get(key, 0) + 1
    return writes


def run(video: Path, audio: Path, jobs: int, kills: int, seed: int) -> Outcome:
    """The whole trial."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with running_server(folder, LOG_FORMAT="json") as server:
            started = time.monotonic()
            ids = [client.post(server.base, video, audio).job["id"] for _ in range(jobs)]
            kill_sometimes(server, kills, random.Random(seed))  # noqa: S311 - a trial, no secret
            ended = client.wait(server.base, ids, timeout_s=1200)
            wall_s = time.monotonic() - started
            results = [folder / "data" / "results" / f"{job_id}.mp4" for job_id in ids]
            sizes = {frames_of(path) for path in results if path.is_file()}
            valid = sum(path.is_file() for path in results) if len(sizes) == 1 else 0
        writes = segment_writes(folder / "server.log")
    return Outcome(
        completed=sum(job["status"] == "completed" for job in ended),
        failed=sum(job["status"] != "completed" for job in ended),
        valid=valid,
        kills=kills,
        segments=len(writes),
        remade=sum(count - 1 for count in writes.values()),
        wall_s=wall_s,
    )


def main() -> int:
    """Run the trial and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, default=CLIPS / "person_a.mp4")
    parser.add_argument("--audio", type=Path, default=CLIPS / "jfk.flac")
    parser.add_argument("--jobs", type=int, default=10)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    outcome = run(args.video, args.audio, args.jobs, args.kills, args.seed)
    for name, value in vars(outcome).items():
        print(f"{name:<12}{value:10.1f}" if name == "wall_s" else f"{name:<12}{value:10d}")
    print(json.dumps({"benchmark": "crash", **vars(outcome)}))
    return 0 if outcome.lossless else 1


if __name__ == "__main__":
    raise SystemExit(main())
