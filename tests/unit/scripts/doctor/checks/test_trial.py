"""The trial's judgement, on small programs in place of the server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scripts.doctor.checks import trial as trials
from scripts.doctor.checks.trial import Trial
from scripts.doctor.look import Look

LOOK = Look("python")
READY = {"models": {"haar": "ready"}, "device_name": "cpu", "status": "ready"}


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Any]:
    """Starts Python code as the server; its log may be given."""
    running: list[subprocess.Popen[bytes]] = []

    def start(code: str, log: str = "") -> Trial:
        line = [sys.executable, "-c", code]
        process = subprocess.Popen(line, stdout=subprocess.PIPE)
        running.append(process)
        (tmp_path / "log").write_text(log)
        return Trial(process, trials.free_port(), tmp_path / "log")

    yield start
    for process in running:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


WAIT = "import time; time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    " print('on', flush=True); time.sleep(60)"
)


def test_a_server_that_is_never_ready_is_told_with_its_last_words(started: Any) -> None:
    trial = started(WAIT, "first\nloading models step 3\n\n")
    health = trials.wait_ready(trial, 0.3)
    (finding,) = trials.judge(trial, health, 0.3, LOOK)
    assert finding.code == "server-not-ready"
    assert finding.text == "not ready within 0.3 s; its last line: loading models step 3"


def test_a_server_that_ended_is_told_with_its_reason(started: Any) -> None:
    trial = started("raise SystemExit(3)", "boot\nReason: REQUIRE_GPU=1\nShutting down\n")
    trial.process.wait()
    assert trials.wait_ready(trial, 5) == {}
    (finding,) = trials.judge(trial, {}, 5, LOOK)
    assert (finding.code, finding.text) == ("server-refused", "exit code 3: REQUIRE_GPU=1")


def test_a_worker_that_loads_its_models_twice_is_told(started: Any) -> None:
    line = "boot step='loading models' pid=7\n"
    trial = started(WAIT, line * 2 + line.replace("7", "8"))
    wrong, _ = trials.judge(trial, READY, 5, LOOK)
    assert (wrong.code, wrong.text) == ("models-twice", "worker 7 loaded its models 2 times")


def test_a_server_that_does_not_end_is_told(started: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_SPARE_S", 0.1)
    trial = started(STUBBORN)
    trial.process.stdout.readline()
    (finding,) = trials.end(trial, 0.1)
    assert finding.code == "server-stop"
    assert list(trials.end(started(WAIT), 5)) == []


def test_reason_and_last_line_of_a_log() -> None:
    assert trials.reason("refused to start: settings refused\n") == "settings refused"
    assert trials.reason("nothing known\n") == "nothing known"
    assert trials.last_line("\n") == "it wrote nothing"


def test_a_master_that_is_gone_has_no_libraries() -> None:
    assert list(trials.masters_libraries(999999999, "python")) == []


def test_a_heavy_library_in_a_process_is_found_by_its_files(started: Any) -> None:
    process = started("import cv2; print('on', flush=True); " + WAIT).process
    process.stdout.readline()
    (finding,) = trials.masters_libraries(process.pid, "python")
    assert finding.text == "the master has cv2 in its memory"
