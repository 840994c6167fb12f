"""The real app by each of its ways to start: script, Gunicorn from any folder, Flask alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.integration.server import ROOT, start_server

SCRIPT = str(ROOT / "scripts" / "start_gpu_server.sh")
FLASK = [sys.executable, str(ROOT / "app_server.py")]


def test_the_start_script_serves_the_app_from_any_folder(tmp_path: Path) -> None:
    with start_server(
        {"DATA_DIR": str(tmp_path / "data")}, command=[SCRIPT, "--production"], cwd=tmp_path
    ) as server:
        health = server.health()
        assert health["model_loaded"]
        assert health["models"].pop("story") == "on demand"
        assert set(health["models"].values()) == {"ready"}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]
        maps = Path(f"/proc/{server.pid}/maps").read_text()
        assert not [name for name in ("torch", "onnxruntime", "cv2") if name in maps]
        worker = psutil.Process(server.worker_pid).memory_maps()
        assert [entry for entry in worker if "onnxruntime" in entry.path]
        assert not [entry for entry in worker if "libtorch" in entry.path]


def test_a_respawned_worker_answers_loading_before_it_is_ready_and_loads_each_model_once() -> None:
    with start_server() as server:
        first = server.worker_pid
        server.signal(signal.SIGKILL, first)
        seen = set()
        while (health := server.health()).get("status") != "ready" or health["worker_pid"] == first:
            seen.add((health.get("status"), health.get("worker_pid") == first))
        assert ("ready", True) not in seen
        second = server.wait_ready(not_pid=first)["worker_pid"]
        loads = [line for line in server.log.splitlines() if "loading models" in line]
        assert [f"pid={pid}" in line for line, pid in zip(loads, (first, second), strict=True)] == [
            True,
            True,
        ]


def test_flask_alone_serves_the_same_and_ends_by_sigterm() -> None:
    with start_server(command=FLASK) as server:
        assert server.health()["model_loaded"]
        assert server.ops("/health").json["status"] == "ready"
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0
        assert time.monotonic() - began < 10


def test_flask_alone_ends_with_the_reason_when_it_cannot_become_ready() -> None:
    env = {"REQUIRE_GPU": "1", "CUDA_VISIBLE_DEVICES": ""}
    with start_server(env, command=FLASK, ready=False) as server:
        assert server.wait_exit() == 3
        assert "REQUIRE_GPU=1, but no GPU can be used" in server.log


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    path = {"PATH": "/usr/bin:/bin:/usr/local/bin"}
    return subprocess.run(
        [SCRIPT, *arguments], capture_output=True, text=True, env={**path, **env}, check=False
    )


def test_diagnose_alone_is_the_doctor_and_starts_nothing(tmp_path: Path) -> None:
    settings = {"DATA_DIR": str(tmp_path), "OPS_PORT": "0", "API_KEY": "a secret key", "PORT": "0"}
    done = run("--diagnose", "--only", "settings,ports,weights", **settings)
    assert done.returncode == 0, done.stdout
    for word in ("PORT=0 on 127.0.0.1 is free", "viseme-audio", "API_KEY=(set, not shown)"):
        assert word in done.stdout
    assert "a secret key" not in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_diagnose_before_the_start_keeps_a_server_with_a_problem_from_starting(
    tmp_path: Path,
) -> None:
    settings = {"DATA_DIR": str(tmp_path), "GUNICORN_WORKER_CLASS": "sync"}
    done = run("--diagnose", "--production", **settings)
    assert done.returncode == 2
    assert "problem  gunicorn" in done.stdout
    assert "not started: mend the problems above" in done.stderr
    assert "refused to start" not in done.stderr


def test_help_names_every_mode() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert all(mode in done.stdout for mode in ("--production", "--diagnose", "--flask"))
