"""The demo: start the production server on a free port, post one job, show progress, fetch the MP4.

    python -m scripts.demo --video V --audio A --output demo/output.mp4

What it is not: a client library. It uses only what any HTTP client could.
"""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from server.settings import child_environment

ROOT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 120.0
POLL_S = 0.25


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why."""


def free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


@dataclass(frozen=True)
class RunningServer:
    """Where a started server answers: main and probe listener, and its log."""

    base: str
    ops: str
    log: Path


@contextlib.contextmanager
def running_server(folder: Path, **settings: str) -> Iterator[RunningServer]:
    """Start the production server, its data in `folder`/data; yields it when ready; stops it."""
    port, ops_port = free_ports(2)
    log = folder / "server.log"
    folder.mkdir(parents=True, exist_ok=True)
    environment = child_environment(
        PORT=str(port), OPS_PORT=str(ops_port), DATA_DIR=str(folder / "data"), **settings
    )
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "app_production.py")],
            cwd=ROOT,
            env=environment,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
        try:
            server = RunningServer(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{ops_port}", log)
            wait_until_ready(server.base, process, log)
            yield server
        finally:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=45)
            process.kill()
            process.wait()


def wait_until_ready(base: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when /health says ready.

    Raises:
        DemoError: the server ended or is not ready in time; with the end of its log.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(requests.ConnectionError, requests.Timeout):
            if requests.get(f"{base}/health", timeout=5).json()["status"] == "ready":
                return
        time.sleep(POLL_S)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
    raise DemoError(f"the server did not become ready; the end of {log}:\n{tail}")


def post_job(base: str, video: Path, audio: Path) -> dict[str, Any]:
    """Post both files; the job as the server describes it."""
    with video.open("rb") as face, audio.open("rb") as voice:
        answer = requests.post(
            f"{base}/v1/videos",
            files={"video": (video.name, face), "audio": (audio.name, voice)},
            timeout=600,
        )
    return checked(answer)


def checked(answer: requests.Response) -> dict[str, Any]:
    """The JSON of an answer.

    Raises:
        DemoError: the server refused; with its message.
    """
    body: dict[str, Any] = answer.json()
    if answer.status_code >= 400:
        raise DemoError(f"the server answered {answer.status_code}: {body['error']['message']}")
    return body


def follow(base: str, job_id: str) -> dict[str, Any]:
    """Show progress until the job ends; the finished job."""
    while True:
        job = checked(requests.get(f"{base}/v1/videos/{job_id}", timeout=30))
        bar = "#" * (job["progress"] // 4)
        sys.stdout.write(f"\rdemo: {job['status']:<12} [{bar:<25}] {job['progress']:3d} %")
        sys.stdout.flush()
        if job["status"] not in ("queued", "in_progress"):
            sys.stdout.write("\n")
            return job
        time.sleep(POLL_S)


def fetch(base: str, job_id: str, output: Path) -> None:
    """Download the MP4; it appears under its name only when whole."""
    part = output.with_suffix(".part")
    with requests.get(f"{base}/v1/videos/{job_id}/content", stream=True, timeout=600) as answer:
        answer.raise_for_status()
        with part.open("wb") as sink:
            for block in answer.iter_content(1 << 20):
                sink.write(block)
    part.replace(output)


def run(video: Path, audio: Path, output: Path) -> None:
    """The whole demo."""
    for path in (video, audio):
        if not path.is_file():
            raise DemoError(f"no such file: {path}")
    output.parent.mkdir(parents=True, exist_ok=True)
    print("demo: starting the server")
    with running_server(output.parent) as server:
        base = server.base
        started = time.monotonic()
        job = post_job(base, video, audio)
        print(f"demo: {base} accepted job {job['id']}")
        job = follow(base, job["id"])
        if job["status"] != "completed":
            raise DemoError(f"the job {job['status']}: {(job.get('error') or {}).get('message')}")
        wall_s = time.monotonic() - started
        fetch(base, job["id"], output)
    seconds = float(job["seconds"])
    print(f"demo: wrote {output.resolve()} ({job['size']}, {seconds:.1f} s)")
    print(f"demo: made in {wall_s:.1f} s, {seconds / wall_s:.2f} seconds of video per second")


def main() -> int:
    """Parse the arguments, run, explain failures in one line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    try:
        run(args.video, args.audio, args.output)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
