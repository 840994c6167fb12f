"""The worker's hooks: device in sight, signals chained, a bounded end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest
from gunicorn.config import Config

from server import worker as worker_module
from server.board import Board
from server.master import Place
from server.ops import listen
from server.slots import Slot
from tests.integration.server import get


class FakeLifecycle:
    def __init__(self) -> None:
        self.calls: list[Any] = []

    def start(self, place: Place) -> None:
        self.calls.append("start")

    def drain(self, reason: str) -> None:
        self.calls.append(reason)

    def stop(self, timeout_s: float) -> None:
        self.calls.append(timeout_s)


class FakeApp:
    def __init__(self, **extensions: Any) -> None:
        self.extensions = extensions

    def __call__(self, environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"probed"]


class FakeWorker:
    def __init__(self, app: Any) -> None:
        self.cfg = Config()
        self.cfg.set("graceful_timeout", 30)
        self.wsgi = app


@pytest.fixture
def lifecycle() -> FakeLifecycle:
    return FakeLifecycle()


@pytest.fixture
def worker(lifecycle: FakeLifecycle) -> FakeWorker:
    return FakeWorker(FakeApp(lifecycle=lifecycle, ops_app=FakeApp()))


@pytest.fixture
def terms(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """SIGTERMs that reach Gunicorn's own handler; no thread ends this process."""
    got: list[int] = []
    monkeypatch.setattr(worker_module, "_EXIT_S", 3600.0)
    before = signal.signal(signal.SIGTERM, lambda number, frame: got.append(number))
    yield got
    signal.signal(signal.SIGTERM, before)
    worker_module._life = None


def place(ops_socket: Any = None, device: str = "") -> Place:
    board = Board()
    return Place(Slot(0, device, "a test"), board.note(1), board, ops_socket)


def test_the_fork_shows_cuda_one_device_and_ends_before_the_master_s_patience(
    worker: FakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    worker_module.post_fork(worker, place(device="2"))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "2"
    assert worker.cfg.graceful_timeout == 28


def test_the_boot_begins_and_probes_are_answered(
    worker: FakeWorker, lifecycle: FakeLifecycle, terms: list[int]
) -> None:
    with listen("127.0.0.1", 0) as sock:
        worker_module.post_worker_init(worker, place(sock))
        assert lifecycle.calls == ["start"]
        assert get(f"http://127.0.0.1:{sock.getsockname()[1]}/health").body == b"probed"
        worker_module.worker_exit(worker)
    assert lifecycle.calls[1:] == [pytest.approx(30, abs=1)]


def test_sigterm_reaches_the_lifecycle_and_then_gunicorn(
    worker: FakeWorker, lifecycle: FakeLifecycle, terms: list[int]
) -> None:
    worker_module.post_worker_init(worker, place())
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    assert lifecycle.calls == ["start", "SIGTERM", "SIGTERM"]
    assert terms == [signal.SIGTERM, signal.SIGTERM]
    time.sleep(0.3)
    worker_module.worker_exit(worker)
    assert lifecycle.calls[-1] == pytest.approx(29.7, abs=0.15)


def test_sigquit_leaves_a_second_for_everything(
    worker: FakeWorker, lifecycle: FakeLifecycle, terms: list[int]
) -> None:
    worker_module.post_worker_init(worker, place())
    worker_module.worker_int(worker)
    worker_module.worker_exit(worker)
    assert lifecycle.calls == ["start", "SIGQUIT", pytest.approx(1, abs=0.1)]


def test_hooks_of_a_worker_that_never_started_do_nothing(worker: FakeWorker) -> None:
    worker_module.worker_int(worker)
    worker_module.worker_exit(worker)


def test_another_app_is_refused_by_name() -> None:
    with pytest.raises(RuntimeError, match="serves app_server:app; this app has no lifecycle"):
        worker_module.post_worker_init(FakeWorker(lambda *_: []), place())


def test_threads_that_never_end_do_not_hold_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    worker_module._end_for_sure(0.01)
    assert exits == [0]
