"""The commands of README and docs/api.md run, as they stand, against a real server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.demo import RunningServer, running_server
from scripts.make_samples import make_video

ROOT = Path(__file__).resolve().parents[2]
STORY = ROOT / "models" / "assets" / "story" / "config.json"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("readme")
    with running_server(folder) as started:
        yield started


@pytest.fixture(scope="module")
def face() -> Path:
    path = ROOT / "demo" / "face.mp4"
    path.parent.mkdir(exist_ok=True)
    if not path.is_file():
        make_video(path)
    return path


def commands(document: Path, heading: str) -> list[str]:
    """The lines of the shell blocks under a heading."""
    section = document.read_text().split(f"## {heading}")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, flags=re.DOTALL)
    return [line for block in blocks for line in block.strip().splitlines()]


def run(command: str, server: RunningServer, **variables: str) -> str:
    assert command.startswith("curl ")
    command = command.replace("localhost:8383", server.base.removeprefix("http://"))
    command = command.replace("curl ", "curl --fail-with-body ", 1)
    ran = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
    return ran.stdout


def test_the_commands_of_the_readme_make_a_video(
    server: RunningServer, face: Path, tmp_path: Path
) -> None:
    health, post, listing, look, events, stream, content = commands(ROOT / "README.md", "Use it")
    assert json.loads(run(health, server))["status"] == "ready"
    job = json.loads(run(post, server))
    assert json.loads(run(listing, server))["data"][0]["id"] == job["id"]
    assert json.loads(run(look, server, ID=job["id"]))["object"] == "video"
    assert "event: completed" in run(events, server, ID=job["id"])
    assert "#EXT-X-ENDLIST" in run(stream, server, ID=job["id"])
    film = tmp_path / "talking.mp4"
    run(content.replace("talking.mp4", str(film)), server, ID=job["id"])
    assert film.read_bytes()[4:8] == b"ftyp"


def test_the_commands_for_heygem_clients_make_a_video(server: RunningServer, face: Path) -> None:
    shared = server.log.parent / "data" / "temp"
    shutil.copy(face, shared / "face.mp4")
    speech = ROOT / "scripts" / "assets" / "speech.flac"
    shutil.copy(speech, shared / "voice.wav")
    submit, query = commands(ROOT / "docs" / "api.md", "HeyGem clients")
    assert json.loads(run(submit, server))["code"] == 10000
    deadline = time.monotonic() + 90
    task = json.loads(run(query, server))
    while task["data"]["status"] == 1 and time.monotonic() < deadline:
        time.sleep(0.5)
        task = json.loads(run(query, server))
    assert task["data"]["status"] == 2
    assert (shared / task["data"]["result"].lstrip("/")).is_file()


@pytest.mark.skipif(not STORY.is_file(), reason="the embedded story model is not there")
def test_the_commands_for_text_run(server: RunningServer) -> None:
    generate, complete, stream, listing, card = commands(ROOT / "docs" / "api.md", "Text")
    assert json.loads(run(generate, server))["generated_text"].startswith("Once upon a time")
    assert json.loads(run(complete, server))["choices"][0]["text"]
    assert run(stream, server).endswith("data: [DONE]\n\n")
    assert json.loads(run(listing, server))["data"][0]["id"] == "story"
    assert json.loads(run(card, server))["status"] == "ready"
