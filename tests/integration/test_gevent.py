"""GUNICORN_WORKER_CLASS=gevent: requests on greenlets, work on native threads."""

from __future__ import annotations

import signal
import threading
import time

import pytest
import requests

from tests.integration.clips import small_video, tone
from tests.integration.server import FAKE_APP, start_server

GEVENT = {"GUNICORN_WORKER_CLASS": "gevent", "GUNICORN_TIMEOUT": "10"}


@pytest.mark.slow
def test_health_answers_quickly_while_a_native_job_outlasts_the_timeout() -> None:
    with start_server(GEVENT, app=FAKE_APP) as server:
        worker = server.worker_pid
        for _ in range(2):
            server.get("/job?s=16&stuck=1")
        until = time.monotonic() + 15.5
        slowest_s = [0.0, 0.0]
        while time.monotonic() < until:
            slowest_s[0] = max(slowest_s[0], server.get("/health").seconds)
            slowest_s[1] = max(slowest_s[1], server.ops("/health").seconds)
            time.sleep(0.1)
        assert max(slowest_s) < 0.5
        assert server.worker_pid == worker
        assert "WORKER TIMEOUT" not in server.log
        assert server.get("/job?s=0").json["running"] >= 1


def test_a_sleeping_request_lets_the_others_run() -> None:
    with start_server(GEVENT, app=FAKE_APP) as server:
        threads = [threading.Thread(target=server.get, args=("/slow?s=1",)) for _ in range(6)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        assert server.get("/health").seconds < 0.5
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 4


def test_sigterm_drains_and_a_kill_respawns() -> None:
    with start_server(GEVENT, app=FAKE_APP) as server:
        first = server.worker_pid
        server.signal(signal.SIGKILL, first)
        server.wait_ready(not_pid=first)
        server.get("/job?s=60")
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0
        runner = (server.data_dir / "runner.txt").read_text(encoding="utf-8")
        assert runner.splitlines()[-1].endswith("drained")


@pytest.mark.slow
def test_a_real_job_is_rendered_while_health_keeps_answering() -> None:
    with start_server(GEVENT) as server:
        worker = server.worker_pid
        with small_video().open("rb") as video, tone(12).open("rb") as audio:
            files = {"video": video, "audio": audio}
            made = requests.post(f"{server.base_url}/v1/videos", files=files, timeout=60).json()
        url = f"/v1/videos/{made['id']}"
        slowest_s = 0.0
        until = time.monotonic() + 150
        while (job := server.get(url).json)["status"] in ("queued", "in_progress"):
            for answer in (server.get("/health"), server.ops("/health")):
                slowest_s = max(slowest_s, answer.seconds)
            assert time.monotonic() < until, server.log
            time.sleep(0.05)
        assert job["status"] == "completed", job
        assert slowest_s < 0.5
        assert server.worker_pid == worker
        assert server.get(f"{url}/content").body[4:8] == b"ftyp"
