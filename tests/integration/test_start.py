"""How the server starts, or refuses to: real Gunicorn, wrong settings, broken models, no GPU."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.server import FAKE_APP, ROOT, Server, start_server


def refused(env: dict[str, str] | None = None, *args: str) -> Server:
    """A server that is expected to end by itself."""
    server = start_server(env, app=FAKE_APP, args=args, ready=False)
    try:
        server.wait(lambda: server.process.poll() is not None, "end")
    except BaseException:
        server.stop()
        raise
    return server


@pytest.mark.parametrize(
    ("env", "args", "words"),
    [
        ({"GUNICORN_WORKER_CLASS": "sync"}, [], ["'sync'", "GUNICORN_WORKER_CLASS=gthread"]),
        ({}, ["-k", "sync"], ["'sync'", "GUNICORN_WORKER_CLASS=gthread"]),
        ({}, ["-k", "gevent"], ["'gevent'", "GUNICORN_WORKER_CLASS=gevent", "native"]),
        ({"GUNICORN_PRELOAD": "true"}, [], ["preload_app=True", "GUNICORN_PRELOAD"]),
        ({}, ["--preload"], ["preload_app=True", "--preload"]),
        ({"GUNICORN_WORKERS": "3"}, [], ["3 workers for 1 device slot", "GUNICORN_WORKERS=1"]),
        ({}, ["-w", "4"], ["4 workers for 1 device slot", "DEVICE_SLOTS"]),
        ({"DEVICE_SLOTS": "0,0"}, [], ["DEVICE_SLOTS=0,0", "once only"]),
        ({"GUNICORN_THREADS": "none"}, [], ["GUNICORN_THREADS='none'"]),
        ({"OPS_PORT": "70000"}, [], ["OPS_PORT='70000'", "65535"]),
    ],
)
def test_what_cannot_work_is_refused_at_start_in_one_line(
    env: dict[str, str], args: list[str], words: list[str]
) -> None:
    with refused(env, *args) as server:
        assert server.process.returncode == 2
        assert "refused" in server.log
        assert all(word in server.log for word in words), server.log
        assert "Traceback" not in server.log
        assert "Booting worker" not in server.log


def test_a_busy_ops_port_is_said_at_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with refused({"OPS_PORT": port}) as server:
            assert server.process.returncode == 2
            assert f"OPS_PORT={port}: Address already in use. Set OPS_PORT" in server.log


def test_max_requests_is_ignored_with_a_warning_whoever_sets_it() -> None:
    env = {"GUNICORN_MAX_REQUESTS": "5"}
    with start_server(env, app=FAKE_APP, args=["--max-requests", "3"]) as server:
        first = server.worker_pid
        for _ in range(12):
            server.get("/health")
        assert server.worker_pid == first
        assert "max_requests=3 is ignored" in server.log
        assert "GUNICORN_MAX_MEMORY" in server.log


def test_where_a_gpu_is_required_and_missing_the_server_ends_with_cause_and_remedy() -> None:
    with refused({"REQUIRE_GPU": "1", "CUDA_VISIBLE_DEVICES": ""}) as server:
        assert server.process.returncode == 3
        words = "REQUIRE_GPU=1, but no GPU can be used: CUDA_VISIBLE_DEVICES='' hides all"
        assert words in server.log
        assert server.log.count("Booting worker") == 1
        assert "Traceback" not in server.log
        assert "Reason: REQUIRE_GPU=1" in server.log


@pytest.mark.parametrize(
    ("env", "reason"),
    [
        ({"FAKE_LOAD": "die"}, "the worker died while it was loading models"),
        ({"FAKE_LOAD": "raise"}, "RuntimeError: the fake model is broken"),
        (
            {"FAKE_LOAD_S": "60", "BOOT_TIMEOUT_S": "1", "GRACEFUL_TIMEOUT_S": "3"},
            "not ready within 1 s (BOOT_TIMEOUT_S), while loading models",
        ),
    ],
)
def test_three_boots_that_fail_in_a_row_end_the_server_with_the_reason(
    env: dict[str, str], reason: str
) -> None:
    with refused(env) as server:
        assert server.process.returncode == 3
        assert server.log.count("Booting worker") == 3
        last = server.log.strip().splitlines()[-1]
        assert "3 workers in a row failed before they were ready" in last
        assert reason in last


def test_a_model_that_is_unknown_ends_the_server_at_once() -> None:
    with refused({"LIPSYNC_MODEL": "wav2lop"}) as server:
        assert server.process.returncode == 3
        assert server.log.count("Booting worker") == 1
        assert "no lip-sync model is called 'wav2lop'; there are: viseme" in server.log


def stub(folder: Path, code: int) -> dict[str, str]:
    """Settings under which libcuda is a stand-in that gives this answer before cuInit."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source = folder / "cuda.c"
    source.write_text(f"int cuDeviceGetCount(int *n){{*n = 1; return {code};}}\n")
    library = folder / "libcuda.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return {"LD_LIBRARY_PATH": str(folder)}


def test_a_master_in_which_cuda_is_initialised_refuses_to_fork(tmp_path: Path) -> None:
    with refused(stub(tmp_path, 0)) as server:
        assert server.process.returncode == 2
        assert "Booting worker" not in server.log
        assert "Reason: CUDA is already initialised in the master" in server.log


def test_a_master_that_has_left_cuda_alone_forks(tmp_path: Path) -> None:
    with start_server(stub(tmp_path, 3), app=FAKE_APP) as server:
        assert server.health()["device"]["kind"] == "cpu"


def test_the_running_master_has_none_of_the_heavy_libraries_in_memory() -> None:
    with start_server(app=FAKE_APP) as server:
        maps = Path(f"/proc/{server.pid}/maps").read_text()
        assert "python" in maps
        for name in ("torch", "onnxruntime", "cv2", "libcuda"):
            assert name not in maps


def test_reading_the_configuration_imports_nothing_heavy() -> None:
    code = (
        "import runpy, sys\n"
        "runpy.run_path('gunicorn.conf.py')\n"
        "from gunicorn.config import Config\n"
        "print(*[name for name in ('torch', 'onnxruntime', 'cv2') if name in sys.modules], 'end')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["end"]
