"""The life of a container, step by step, against a stand-in for docker and a small server."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from scripts import containers
from scripts.containers import Box, ContainerError

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = ROOT / "scripts" / "test_containers.sh"
# Answers by the words of the call: lines of "words|exit code|text" in a file.
DOCKER = """#!/bin/sh
while IFS='|' read -r words code text; do
  case "$*" in *"$words"*) printf '%b\\n' "$text"; exit "$code" ;; esac
done < "$ANSWERS"
echo "no answer for: $*" >&2
exit 9
"""


class Server(HTTPServer):
    """Answers GET and POST from a table of callables by path."""

    answers: dict[str, Callable[[], tuple[int, Any]]]


class Handler(BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        assert isinstance(self.server, Server)
        status, body = self.server.answers[self.path.split("?")[0]]()
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer  # noqa: N815 - the names of http.server

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), Handler) as made:
        made.answers = {}
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def box(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ANSWERS", str(tmp_path / "answers"))
    monkeypatch.setattr(containers, "POLL_S", 0.01)
    monkeypatch.setattr(containers, "READY_TIMEOUT_S", 0.3)
    monkeypatch.setattr(containers, "JOB_TIMEOUT_S", 0.3)
    (tmp_path / "temp").mkdir()
    for name in ("face.mp4", "speech.wav"):
        (tmp_path / name).write_bytes(b"x")
    base = f"http://127.0.0.1:{server.server_port}"
    return Box("c1", "img", base, base, tmp_path, tmp_path / "face.mp4", tmp_path / "speech.wav")


def told(box: Box, *lines: str) -> None:
    """What the stand-in for docker answers."""
    (box.data / "answers").write_text("".join(f"{line}\n" for line in lines))


def test_an_image_within_its_bounds_passes(box: Box) -> None:
    told(box, "image inspect|0|1700000000", "exec c1|0|")
    containers.image(box)
    assert box.seconds["image_mb"] == 1700


def test_an_image_that_is_too_large_fails(box: Box) -> None:
    told(box, "image inspect|0|2500000001")
    with pytest.raises(ContainerError, match="2500000001 bytes, at most 2500000000"):
        containers.image(box)


def test_build_tools_in_an_image_are_named(box: Box) -> None:
    told(box, "image inspect|0|1", "exec c1|0|/usr/bin/gcc")
    with pytest.raises(ContainerError, match="gcc"):
        containers.image(box)


GOOD = ("id -u|0|1000", "cat /proc/1|0|Name: x\\nCapEff:\\t0000000000000000", "touch|0|no")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("id -u|0|0", "user 0"),
        ("cat /proc/1|0|CapEff:\\t00000000a80425fb", "capabilities: 00000000a80425fb"),
        ("touch /code/server|0|yes", "/code/server can be written"),
    ],
)
def test_a_container_with_more_rights_than_it_needs_fails(box: Box, wrong: str, words: str) -> None:
    told(box, *GOOD)
    containers.locked_down(box)
    told(box, wrong, *GOOD)
    with pytest.raises(ContainerError, match=words):
        containers.locked_down(box)


def test_a_server_that_never_gets_ready_fails_in_time(box: Box, server: Server) -> None:
    server.answers["/v2/health/ready"] = lambda: (503, {})
    with pytest.raises(ContainerError, match="ready: not within"):
        containers.ready(box)


def test_ready_waits_for_docker_s_own_check(box: Box, server: Server) -> None:
    server.answers["/v2/health/ready"] = lambda: (200, {})
    told(box, "inspect -f|0|healthy")
    containers.ready(box)


def test_a_failed_job_ends_the_step_with_its_reason(box: Box, server: Server) -> None:
    failed = {"status": "failed", "error": {"message": "no face"}}
    server.answers["/v1/videos/j"] = lambda: (200, failed)
    with pytest.raises(ContainerError, match="no face"):
        containers.openai_done(box, "j")


def test_heygem_files_lie_in_the_volume(box: Box, server: Server) -> None:
    server.answers["/easy/submit"] = lambda: (200, {"code": 10000})
    containers.heygem_job(box)
    assert (box.data / "temp" / "face.mp4").is_file()
    server.answers["/easy/submit"] = lambda: (200, {"code": 10002, "msg": "no such file"})
    with pytest.raises(ContainerError, match="no such file"):
        containers.heygem_job(box)


def test_a_failed_task_ends_the_step_with_its_reason(box: Box, server: Server) -> None:
    data = {"status": 3, "msg": "no sound"}
    server.answers["/easy/query"] = lambda: (200, {"data": data})
    with pytest.raises(ContainerError, match="no sound"):
        containers.heygem_done(box, "code")


def test_a_worker_that_outlives_its_kill_fails(
    box: Box, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "in_the_middle", lambda _box, disturb: disturb())
    pids = iter([7, 7, 7, 8])
    server.answers["/health"] = lambda: (200, {"worker_pid": next(pids)})
    told(box, "kill -9 7|0|")
    with pytest.raises(ContainerError, match="7 was not killed"):
        containers.killed(box)
    containers.killed(box)


def test_a_film_of_another_length_than_the_recording_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lengths = {"good.mp4": (10.1, 10.0), "short.mp4": (4.0, 10.0), "voice.wav": (0.0, 10.0)}
    monkeypatch.setattr("scripts.media.seconds_of", lambda path: lengths[path.name])
    containers.same_length(tmp_path / "good.mp4", tmp_path / "voice.wav")
    with pytest.raises(ContainerError, match=r"short\.mp4: 4\.0 s of video"):
        containers.same_length(tmp_path / "short.mp4", tmp_path / "voice.wav")


@pytest.mark.parametrize(("code", "good"), [(0, True), (1, True), (2, False)])
def test_the_doctor_may_warn_but_not_find_problems(box: Box, code: int, good: bool) -> None:
    told(box, f"check_gpu_gunicorn.py|{code}|port taken")
    if good:
        containers.doctor(box)
    else:
        with pytest.raises(ContainerError, match="port taken"):
            containers.doctor(box)


def test_the_first_failure_ends_the_run(
    box: Box, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def bad(_box: Box) -> None:
        raise ContainerError("as it happens")

    def never(_box: Box) -> None:
        raise AssertionError("a step after a failed one was run")

    monkeypatch.setattr(containers, "STEPS", (bad, never))
    assert containers.run(box) == 1
    assert "bad: FAILED: as it happens" in capsys.readouterr().out
    monkeypatch.setattr(containers, "STEPS", (lambda _box: None,))
    assert containers.run(box) == 0


def test_without_root_the_script_skips_with_a_reason() -> None:
    """As another user where the tests run as root."""
    command = ["bash", str(SCRIPT)]
    if os.geteuid() == 0:
        command = ["setpriv", "--reuid=65534", "--clear-groups", *command]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, "skip: only root can start a container engine\n")


def test_an_unknown_option_of_the_script_is_refused() -> None:
    ran = subprocess.run(
        ["bash", str(SCRIPT), "--push"], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert "'--push'; allowed: --keep, --work FOLDER" in ran.stderr
