"""How fast the probes and the submit answer while two jobs render.

    python -m benchmarks.probes [--video V --audio A] [--seconds 10]

Posts jobs so that two run all the time, asks OPS_PORT's /health fifty times a second meanwhile, and
measures how long `POST /v1/videos` takes from the last byte of the upload to the answer. Prints a
table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import requests

from benchmarks import client
from scripts.demo import running_server

CLIPS = Path(__file__).resolve().parents[2] / "shared" / "clips"


def probe(url: str, seconds: float) -> list[float]:
    """Latencies (s) of /health, a fresh connection each, at 50 Hz."""
    latencies = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        started = time.monotonic()
        requests.get(f"{url}/health", timeout=10).raise_for_status()
        latencies.append(time.monotonic() - started)
        time.sleep(max(0.0, 0.02 - latencies[-1]))
    return latencies


def wait_for_running(base: str, count: int) -> None:
    """Return when so many jobs are in progress."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        rows = requests.get(f"{base}/v1/videos", timeout=10).json()["data"]
        if sum(row["status"] == "in_progress" for row in rows) >= count:
            return
        time.sleep(0.1)
    raise TimeoutError(f"never saw {count} jobs in progress")


def measure(video: Path, audio: Path, seconds: float) -> dict[str, float]:
    """Latencies in ms."""
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        posts = [client.post(server.base, video, audio) for _ in range(4)]
        wait_for_running(server.base, 2)
        health = np.array(probe(server.ops, seconds)) * 1000
        posts += [client.post(server.base, video, audio) for _ in range(6)]
        rows = requests.get(f"{server.base}/v1/videos", timeout=10).json()["data"]
        running = sum(row["status"] == "in_progress" for row in rows)
    answers = np.array([posted.answer_s for posted in posts]) * 1000
    return {
        "health_p50_ms": float(np.percentile(health, 50)),
        "health_p99_ms": float(np.percentile(health, 99)),
        "health_max_ms": float(health.max()),
        "probes": float(len(health)),
        "post_median_ms": float(np.median(answers)),
        "post_max_ms": float(answers.max()),
        "jobs_running_at_the_end": float(running),
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, default=CLIPS / "person_b.mp4")
    parser.add_argument("--audio", type=Path, default=CLIPS / "jfk.flac")
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    result = measure(args.video, args.audio, args.seconds)
    for name, value in result.items():
        print(f"{name:<26}{value:10.1f}")
    print(json.dumps({"benchmark": "probes", **{k: round(v, 2) for k, v in result.items()}}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
