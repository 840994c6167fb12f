"""A worker's life under real Gunicorn: start, signals, kills, reload, recycling, slow clients."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from server.lease import Lease
from tests.integration.server import FAKE_APP, Answer, Server, start_server


def fake(**env: str) -> Server:
    return start_server(env, app=FAKE_APP)


def lines(server: Server, name: str) -> list[str]:
    path = server.data_dir / name
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def stamp(line: str) -> float:
    """Seconds since the epoch of a log line."""
    return datetime.fromisoformat(line.split(" ")[0]).timestamp()


def log_line(server: Server, pid: int, text: str) -> str:
    """The worker's first log line that holds `text`."""
    return next(
        line
        for line in server.log.splitlines()
        if text in line and re.search(f"pid={pid}\\b", line)
    )


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


class Asking(threading.Thread):
    """A request in the background; `answer` stays None when it was cut."""

    def __init__(self, server: Server, path: str) -> None:
        super().__init__()
        self.server = server
        self.path = path
        self.answer: Answer | None = None
        self.start()

    def run(self) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            self.answer = self.server.get(self.path, 60)


def test_health_answers_loading_within_a_second_on_both_ports_and_then_ready() -> None:
    with start_server({"FAKE_LOAD_S": "3"}, app=FAKE_APP, ready=False) as server:
        born = psutil.Process(server.worker_pid).create_time()
        first = server.wait(server.health, "an answer", every_s=0.01)
        assert time.time() - born < 1.0
        assert first["status"] == "loading"
        assert server.ops("/health").json["status"] == "loading"
        ready = server.wait_ready()
        assert set(ready["models"].values()) == {"ready"}
        assert server.ops("/health").json["status"] == "ready"


def test_models_load_once_per_worker_and_again_only_in_a_new_one() -> None:
    with fake() as server:
        first = server.worker_pid
        for _ in range(20):
            server.get("/health")
        assert lines(server, "loads.txt") == [str(first)] * 3
        server.signal(signal.SIGKILL, first)
        second = server.wait_ready(not_pid=first)["worker_pid"]
        assert lines(server, "loads.txt")[3:] == [str(second)] * 3
        assert "mouthpiece_worker_restarts_total 1.0" in server.ops("/metrics").body.decode()


def test_loading_longer_than_gunicorn_s_timeout_is_no_reason_to_be_killed() -> None:
    with fake(FAKE_LOAD_S="4", GUNICORN_TIMEOUT="2") as server:
        assert "WORKER TIMEOUT" not in server.log
        assert len(set(lines(server, "loads.txt"))) == 1


def test_sigterm_finishes_requests_gives_jobs_back_and_exits_0() -> None:
    with fake() as server:
        server.get("/job?s=60")
        asking = Asking(server, "/slow?s=1.5")
        time.sleep(0.4)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0
        assert time.monotonic() - began < 6
        asking.join()
        assert asking.answer is not None
        assert asking.answer.json == {"slept": "1.5"}
        assert [line.split(" ")[1] for line in lines(server, "runner.txt")] == [
            "start",
            "job",
            "drained",
        ]


def test_a_request_that_never_ends_does_not_hold_sigterm_beyond_the_graceful_time() -> None:
    with fake(GRACEFUL_TIMEOUT_S="4") as server:
        asking = Asking(server, "/slow?s=25")
        time.sleep(0.3)
        began = time.monotonic()
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0
        assert time.monotonic() - began < 8
        asking.join()
        assert asking.answer is None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_sigint_and_sigquit_end_quickly_under_load(number: int) -> None:
    with fake() as server:
        server.get("/job?s=60")
        asking = Asking(server, "/slow?s=2")
        time.sleep(0.3)
        began = time.monotonic()
        server.signal(number)
        assert server.wait_exit() == 0
        assert time.monotonic() - began < 7
        asking.join()
        assert lines(server, "runner.txt")[-1].endswith("drained")


def test_on_sighup_the_new_worker_waits_until_the_old_one_has_left_the_device() -> None:
    with fake() as server:
        old = server.worker_pid
        server.get("/job?s=3&stuck=1")
        server.signal(signal.SIGHUP)
        waiting = server.wait(
            lambda: "lease" in server.health().get("reason", ""), "a worker that waits"
        )
        assert waiting
        new = server.wait_ready(not_pid=old)["worker_pid"]
        left = stamp(log_line(server, old, "Worker exiting"))
        job = stamp(log_line(server, old, "draining")) + 2
        opened = stamp(log_line(server, new, "opening the device"))
        assert gone(old)
        assert opened > max(left, job)
        assert Lease(server.data_dir / "run" / "device-cpu.lock").owner() == str(new)


def test_a_killed_master_takes_its_worker_along_and_the_device_is_free() -> None:
    with fake() as server:
        worker = server.worker_pid
        server.get("/job?s=60")
        server.signal(signal.SIGKILL)
        server.wait_exit()
        server.wait(lambda: gone(worker), "end of the orphan", 15)
        lease = Lease(server.data_dir / "run" / "device-cpu.lock")
        lease.acquire(1)
        lease.release()
        assert lines(server, "runner.txt")[-1].endswith("drained")


def test_a_worker_that_holds_the_gil_beyond_the_timeout_is_replaced() -> None:
    with fake(GUNICORN_TIMEOUT="2") as server:
        old = server.worker_pid
        asking = Asking(server, "/hold?s=40")
        new = server.wait_ready(40, not_pid=old)["worker_pid"]
        assert new != old
        asking.join()
        assert "WORKER TIMEOUT" in server.log


def test_the_worker_is_recycled_by_finished_jobs_and_never_in_mid_job() -> None:
    with fake(GUNICORN_MAX_JOBS="1") as server:
        old = server.worker_pid
        server.get("/job?s=3&stuck=1")
        server.get("/job?s=0.2")
        time.sleep(2)
        assert server.health()["worker_pid"] == old
        server.wait_ready(not_pid=old)
        mine = [line.split(" ")[1] for line in lines(server, "runner.txt") if str(old) in line]
        assert mine == ["start", "job", "job", "finished", "drained"]
        assert "GUNICORN_MAX_JOBS=1" in server.log


def test_the_worker_is_recycled_by_memory() -> None:
    with fake(GUNICORN_MAX_MEMORY="400") as server:
        old = server.worker_pid
        server.get("/job?s=0.1")
        time.sleep(2.5)
        assert server.worker_pid == old
        server.get("/eat?mib=450")
        server.wait_ready(not_pid=old)
        assert "GUNICORN_MAX_MEMORY=400" in server.log


@pytest.fixture
def held() -> Iterator[Server]:
    """A server all of whose 8 request threads are held by slow clients."""
    with fake(GUNICORN_THREADS="8") as server, contextlib.ExitStack() as stack:
        for number in range(8):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            body = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nx"
            sock.sendall(body if number % 2 else b"GET /health HTTP/1.1\r\nHost:")
        time.sleep(0.5)
        yield server


def test_probes_answer_while_slow_clients_hold_every_request_thread(held: Server) -> None:
    assert held.health(timeout_s=1) == {}
    for _ in range(10):
        answer = held.ops("/health")
        assert answer.status == 200
        assert answer.seconds < 0.2
    assert held.ops("/metrics").status == 200


def test_two_workers_own_two_devices_and_a_new_one_takes_the_free_one() -> None:
    with fake(DEVICE_SLOTS="4,6", GUNICORN_WORKERS="2") as server:

        def owners() -> dict[int, str]:
            seen = {}
            for _ in range(40):
                health = server.health()
                if health.get("status") == "ready":
                    seen[int(health["worker_pid"])] = str(health["visible"])
            return seen if len(seen) == 2 else {}

        first = server.wait(owners, "two workers")
        assert sorted(first.values()) == ["4", "6"]
        dead = next(pid for pid, device in first.items() if device == "4")
        server.signal(signal.SIGKILL, dead)
        server.wait(lambda: dead not in server.worker_pids, "the death")
        second = server.wait(lambda: (seen := owners()) and dead not in seen and seen, "respawn")
        assert sorted(second.values()) == ["4", "6"]
        assert {pid for pid in first if pid != dead} < set(second)


def test_more_workers_by_signal_are_refused_and_nothing_is_left_in_home(tmp_path: Path) -> None:
    with fake(HOME=str(tmp_path), XDG_RUNTIME_DIR=str(tmp_path)) as server:
        server.signal(signal.SIGTTIN)
        server.wait_log("kept at 1")
        time.sleep(0.5)
        assert len(server.worker_pids) == 1
        assert list(tmp_path.iterdir()) == []


def test_a_new_master_by_sigusr2_takes_over_both_ports() -> None:
    with fake() as server:
        old = server.worker_pid
        server.signal(signal.SIGUSR2)
        heir = server.wait(
            lambda: [
                child
                for child in psutil.Process(server.pid).children()
                if child.pid != old and child.children()
            ],
            "a new master",
        )[0]
        server.signal(signal.SIGTERM)
        assert server.wait_exit() == 0
        try:
            server.wait(lambda: server.health().get("status") == "ready", "the heir's worker")
            assert server.ops("/health").json["worker_pid"] == heir.children()[0].pid
        finally:
            heir.terminate()
            heir.wait(20)
