"""Put a container that just started through its life: jobs, a killed worker, a restart.

    python -m scripts.containers --container ID --image NAME --port P --ops-port P --data FOLDER

What it is not: a way to start one; scripts/test_containers.sh builds and starts it, and calls this.
Prints a line for each step with its seconds; the first that fails ends it with exit code 1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from scripts.demo import DemoError, checked, fetch, post_job

ROOT = Path(__file__).resolve().parent.parent
READY_TIMEOUT_S = 180.0
JOB_TIMEOUT_S = 300.0
POLL_S = 0.25
MAX_IMAGE_BYTES = 2_500_000_000
UID = 1000
REFUSED_EXIT = 2
# Files of a build: none may be in an image that faces a network.
TOOLS = ("cc", "gcc", "g++", "make", "ld", "pip", "pip3", "git")
_DONE, _FAILED = 2, 3


class ContainerError(RuntimeError):
    """A step did not do what it must; the message says what was seen."""


@dataclass
class Box:
    """A running container and what it is given. `seconds`: what each step took."""

    container: str
    image: str
    base: str
    ops: str
    data: Path
    video: Path
    audio: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def docker(self, *arguments: str) -> str:
        """What the docker command prints.

        Raises:
            ContainerError: it failed; with its words.
        """
        ran = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
        if ran.returncode:
            raise ContainerError(f"docker {' '.join(arguments[:3])}: {ran.stdout}{ran.stderr}")
        return ran.stdout.strip()

    def inside(self, *command: str) -> str:
        """What a command prints that runs in the container."""
        return self.docker("exec", self.container, *command)

    def get(self, path: str) -> Any:
        """The JSON at a path of the main listener."""
        return checked(requests.get(f"{self.base}{path}", timeout=10))


def until(what: str, seen: Callable[[], Any], limit_s: float) -> Any:
    """The first true thing that `seen` gives; a connection that fails counts as nothing.

    Raises:
        ContainerError: nothing came within `limit_s` seconds.
    """
    deadline = time.monotonic() + limit_s
    last = ""
    while time.monotonic() < deadline:
        try:
            found = seen()
        except (requests.ConnectionError, requests.Timeout, DemoError, ValueError) as error:
            found, last = None, f" ({error})"
        if found:
            return found
        time.sleep(POLL_S)
    raise ContainerError(f"{what}: not within {limit_s:.0f} s{last}")


def ready(box: Box) -> None:
    """Wait until a worker takes jobs, and until Docker's own health check has seen it."""
    until(
        "ready", lambda: requests.get(f"{box.ops}/v2/health/ready", timeout=5).ok, READY_TIMEOUT_S
    )
    until(
        "Docker says healthy",
        lambda: box.docker("inspect", "-f", "{{.State.Health.Status}}", box.container) == "healthy",
        60,
    )


def image(box: Box) -> None:
    """Its size, and that nobody can build in it."""
    size = int(box.docker("image", "inspect", "-f", "{{.Size}}", box.image))
    sys.stdout.write(f"containers: image {size / 1e6:.0f} MB\n")
    box.seconds["image_mb"] = round(size / 1e6)
    if size > MAX_IMAGE_BYTES:
        raise ContainerError(f"the image has {size} bytes, at most {MAX_IMAGE_BYTES} are allowed")
    found = box.inside("sh", "-c", f"for t in {' '.join(TOOLS)}; do command -v $t; done; true")
    if found:
        raise ContainerError(f"build tools in the image: {found.split()}")


def locked_down(box: Box) -> None:
    """Not root, no capabilities, a root file system that nobody writes to."""
    who = box.inside("id", "-u")
    if who != str(UID):
        raise ContainerError(f"it runs as user {who}, not {UID}")
    lines = box.inside("sh", "-c", "cat /proc/1/status").splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff"))
    if int(effective, 16):
        raise ContainerError(f"it has capabilities: {effective}")
    for folder in ("/", "/code", "/code/server", "/opt/venv"):
        command = f"touch {folder}/written 2>/dev/null && echo yes || echo no"
        if box.inside("sh", "-c", command) != "no":
            raise ContainerError(f"{folder} can be written to")


def openai_job(box: Box) -> str:
    """A job through /v1/videos; its id."""
    return str(post_job(box.base, box.video, box.audio)["id"])


def openai_done(box: Box, job_id: str) -> None:
    """Wait for it, fetch the result and look whether it is a video of the recording's length."""

    def ended() -> Any:
        job = box.get(f"/v1/videos/{job_id}")
        if job["status"] in ("failed", "cancelled"):
            raise ContainerError(f"job {job_id}: {job['status']}: {job['error']}")
        return job["status"] == "completed"

    until(f"job {job_id}", ended, JOB_TIMEOUT_S)
    target = box.video.parent / "result.mp4"
    fetch(box.base, job_id, target)
    same_length(target, box.audio)


def heygem_job(box: Box) -> str:
    """A job through /easy/submit, with files that lie in the volume; its code."""
    code = str(uuid.uuid4())
    for path in (box.video, box.audio):
        shutil.copyfile(path, box.data / "temp" / path.name)
    body = {"video_url": box.video.name, "audio_url": f"/code/data/temp/{box.audio.name}"}
    answer = requests.post(f"{box.base}/easy/submit", json={**body, "code": code}, timeout=60)
    if answer.json()["code"] != 10000:
        raise ContainerError(f"/easy/submit: {answer.text}")
    return code


def heygem_done(box: Box, code: str) -> None:
    """Wait for it; the result lies where HeyGem's clients look on the host."""

    def ended() -> Any:
        data = box.get(f"/easy/query?code={code}")["data"]
        if data["status"] == _FAILED:
            raise ContainerError(f"task {code}: {data['msg']}")
        return data["status"] == _DONE

    until(f"task {code}", ended, JOB_TIMEOUT_S)
    same_length(box.data / "temp" / f"{code}-r.mp4", box.audio)


def same_length(film: Path, voice: Path) -> None:
    """Raises ContainerError unless both streams of the film are about as long as the recording."""
    from scripts.media import seconds_of

    want, (video_s, audio_s) = seconds_of(voice)[1], seconds_of(film)
    if abs(video_s - want) > 0.2 or abs(audio_s - want) > 0.2:
        raise ContainerError(f"{film.name}: {video_s} s of video, {audio_s} of sound, not {want}")


def both(box: Box) -> None:
    """A job of each kind, undisturbed."""
    job_id, code = openai_job(box), heygem_job(box)
    openai_done(box, job_id)
    heygem_done(box, code)


def in_the_middle(box: Box, disturb: Callable[[], None]) -> None:
    """Post a job of each kind, disturb the server when the first has got somewhere; both finish."""
    job_id, code = openai_job(box), heygem_job(box)

    def somewhere() -> bool:
        job = box.get(f"/v1/videos/{job_id}")
        return bool(job["status"] == "in_progress" and job["progress"] >= 30)

    until("the job is in work", somewhere, JOB_TIMEOUT_S)
    disturb()
    ready(box)
    openai_done(box, job_id)
    heygem_done(box, code)


def killed(box: Box) -> None:
    """kill -9 of the worker in mid-job; another one takes its place."""
    worker = box.get("/health")["worker_pid"]

    def kill() -> None:
        box.inside("sh", "-c", f"kill -9 {worker}")

    in_the_middle(box, kill)
    if box.get("/health")["worker_pid"] == worker:
        raise ContainerError(f"worker {worker} was not killed")


def restarted(box: Box) -> None:
    """`docker restart` in mid-job."""
    began = box.docker("inspect", "-f", "{{.State.StartedAt}}", box.container)
    in_the_middle(box, lambda: void(box.docker("restart", "--time", "60", box.container)))
    if box.docker("inspect", "-f", "{{.State.StartedAt}}", box.container) == began:
        raise ContainerError("the container was not restarted")


def void(_value: object) -> None:
    """Nothing."""


def foreign(box: Box) -> None:
    """A data folder of root's is refused at once, with the command that mends it."""
    command = ["docker", "run", "--rm", "--network", "none", "--tmpfs", "/code/data:mode=0755"]
    ran = subprocess.run([*command, box.image], capture_output=True, text=True, check=False)
    if ran.returncode != REFUSED_EXIT or f"chown -R {UID}" not in ran.stderr:
        raise ContainerError(f"a foreign data folder: exit {ran.returncode}: {ran.stderr}")


def doctor(box: Box) -> None:
    """The doctor inside; warnings are allowed (no GPU is one), problems are not."""
    command = ["docker", "exec", box.container, "python", "scripts/check_gpu_gunicorn.py"]
    ran = subprocess.run([*command, "--quick"], capture_output=True, text=True, check=False)
    if ran.returncode not in (0, 1):
        raise ContainerError(f"the doctor says {ran.returncode}:\n{ran.stdout}{ran.stderr}")


STEPS: tuple[Callable[[Box], None], ...] = (
    ready,
    image,
    locked_down,
    both,
    killed,
    restarted,
    foreign,
    doctor,
)


def run(box: Box) -> int:
    """All steps; exit code 1 at the first that fails."""
    for step in STEPS:
        began = time.monotonic()
        try:
            step(box)
        except (ContainerError, DemoError, requests.RequestException) as error:
            sys.stdout.write(f"containers: {step.__name__}: FAILED: {error}\n")
            return 1
        box.seconds[step.__name__] = round(time.monotonic() - began, 1)
        sys.stdout.write(f"containers: {step.__name__}: {box.seconds[step.__name__]} s\n")
        sys.stdout.flush()
    sys.stdout.write(json.dumps(box.seconds) + "\n")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Read the command line, make the media, run all steps."""
    from scripts.make_samples import make_video
    from scripts.media import long_speech

    parser = argparse.ArgumentParser(description="Put a running container through its life.")
    for name in ("--container", "--image", "--port", "--ops-port", "--data", "--work"):
        parser.add_argument(name, required=True)
    asked = parser.parse_args(arguments)
    work = Path(asked.work)
    work.mkdir(parents=True, exist_ok=True)
    video, audio = work / "face.mp4", work / "speech.wav"
    if not video.is_file():
        make_video(video)
    long_speech(ROOT / "scripts" / "assets" / "speech.flac", audio, 3)
    base, ops = (f"http://127.0.0.1:{port}" for port in (asked.port, asked.ops_port))
    return run(Box(asked.container, asked.image, base, ops, Path(asked.data), video, audio))


if __name__ == "__main__":
    sys.exit(main())
