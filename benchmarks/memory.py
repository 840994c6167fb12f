"""Does the memory of a worker depend on the length of a job? Real server, real models, 720p.

    python -m benchmarks.memory [--seconds 600]

Three jobs, each on a fresh server: 10 s; a video and a recording of `--seconds`; a video of 10 s
that goes back and forth under a recording of `--seconds`. Compares the peak RSS of the worker (the
kernel's VmHWM). Needs the ffmpeg program. Prints a table, then one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path

import requests

from benchmarks import client
from scripts.demo import running_server
from scripts.make_samples import make_video

SPEECH = Path(__file__).resolve().parent.parent / "scripts" / "assets" / "speech.flac"
SHORT_S = 10.0


def ffmpeg(*arguments: str) -> None:
    """Run the program quietly."""
    subprocess.run(["ffmpeg", "-v", "error", "-nostdin", "-y", *arguments], check=True)


def clips(folder: Path, seconds: float) -> dict[str, Path]:
    """A face in 1280x720 and speech, short and long."""
    face = folder / "face.mp4"
    make_video(face)
    made = {}
    for name, length in (("short", SHORT_S), ("long", seconds)):
        made[f"{name} video"] = folder / f"{name}.mp4"
        looped = ["-stream_loop", "-1", "-i", str(face), "-t", str(length)]
        shape = ["-vf", "pad=1280:720:280:0", "-c:v", "libx264", "-preset", "ultrafast"]
        ffmpeg(*looped, *shape, "-g", "50", str(made[f"{name} video"]))
        made[f"{name} sound"] = folder / f"{name}.flac"
        looped = ["-stream_loop", "-1", "-i", str(SPEECH), "-t", str(length)]
        ffmpeg(*looped, str(made[f"{name} sound"]))
    return made


def peak_mib(pid: int) -> float:
    """The most memory that a process ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no VmHWM for {pid}")


def job(folder: Path, video: Path, sound: Path) -> tuple[float, float]:
    """Peak RSS in MiB and wall seconds of one job on a fresh server."""
    with running_server(folder) as server:
        began = time.monotonic()
        job_id = client.post(server.base, video, sound).job["id"]
        (ended,) = client.wait(server.base, [job_id], timeout_s=3600)
        if ended["status"] != "completed":
            raise RuntimeError(f"{video.name} with {sound.name}: {ended}")
        wall_s = time.monotonic() - began
        pid = requests.get(f"{server.base}/gpu/status", timeout=10).json()["worker_pid"]
        return peak_mib(int(pid)), wall_s


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = clips(folder, args.seconds)
        cases = {
            "10 s": ("short video", "short sound"),
            f"{args.seconds:g} s": ("long video", "long sound"),
            f"{args.seconds:g} s, video of 10 s": ("short video", "long sound"),
        }
        found = {
            case: job(folder / str(number), made[video], made[sound])
            for number, (case, (video, sound)) in enumerate(cases.items())
        }
    base = found["10 s"][0]
    for case, (peak, wall_s) in found.items():
        print(f"{case:<24}{peak:8.0f} MiB  {peak / base:5.2f}x  {wall_s:7.1f} s")
    result = {
        case: {"mib": round(peak), "ratio": round(peak / base, 3)}
        for case, (peak, _) in found.items()
    }
    print(json.dumps({"benchmark": "memory", **result}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
