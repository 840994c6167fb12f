"""Write deploy/docker/lock-*.txt: every package of an image, from requirements.txt.

    python -m scripts.lock_images [--device cpu|gpu] [--check]

What it is not: an installer. pip resolves for the Python that runs this (3.11, as in the image),
with its own settings; `--check` compares the requirements with the files and asks no index.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "deploy" / "docker"
DEVICES = ("cpu", "gpu")
_HEAD = "# Written by `python -m scripts.lock_images`: requirements.txt for the {device} image.\n"


def wanted(requirements: str, device: str) -> list[str]:
    """requirements.txt as an image installs it: without a GPU the packages without CUDA."""
    lines = [line.strip() for line in requirements.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if device == "gpu":
        return lines
    lines = [re.sub(r"^onnxruntime-gpu(?=[=<>])", "onnxruntime", line) for line in lines]
    return [f"{line}+cpu" if line.startswith("torch==") else line for line in lines]


def resolve(lines: list[str]) -> dict[str, str]:
    """Version by name of these requirements and all that they need.

    Raises:
        subprocess.CalledProcessError: pip could not resolve them; it has said why.
    """
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
    command += ["--quiet", "--only-binary=:all:", "--report", "-", *lines]
    report = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found = [item["metadata"] for item in json.loads(report.stdout)["install"]]
    return {normal(item["name"]): item["version"] for item in found}


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def text_of(versions: dict[str, str], device: str) -> str:
    """The lock file."""
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    return _HEAD.format(device=device) + "".join(lines)


def read(path: Path) -> dict[str, str]:
    """Version by name of a lock file."""
    lines = [line for line in path.read_text().splitlines() if line and line[0] != "#"]
    return {normal(name): version for name, _, version in (line.partition("==") for line in lines)}


def behind(requirements: str, device: str, locked: dict[str, str]) -> list[str]:
    """Requirements that a lock file does not fulfil, as far as can be said without an index."""
    found = []
    for line in wanted(requirements, device):
        name, _, version = line.partition("==")
        have = locked.get(normal(re.split(r"[=<>\[; ]", line)[0]))
        if have is None or (version and "<" not in name and have != version):
            found.append(f"lock-{device}.txt: {line} is wanted, {have or 'nothing'} is there")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or 1 when `--check` finds one behind."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--device", choices=DEVICES, action="append")
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args(arguments)
    requirements = (ROOT / "requirements.txt").read_text()
    stale: list[str] = []
    for device in asked.device or DEVICES:
        path = FOLDER / f"lock-{device}.txt"
        if asked.check:
            stale += behind(requirements, device, read(path))
        else:
            path.write_text(text_of(resolve(wanted(requirements, device)), device))
    sys.stdout.write("".join(f"{line}: run python -m scripts.lock_images\n" for line in stale))
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
