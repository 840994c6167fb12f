"""A worker's life in one process: phases, drain, limits, recycling."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server import lifecycle as lifecycle_module
from server import metrics
from server.board import Board, Outcome
from server.boot import Parts
from server.lifecycle import Lifecycle, lone_place
from server.master import Place
from server.nvml import Reading
from server.settings import load_settings
from server.state import DeviceReport, Phase, WorkerState
from tests.unit.server import test_boot


class FakeRunner(test_boot.FakeRunner):
    """Says in which order it was called; `hold` keeps a drain."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.calls: list[str] = []
        self.hold = threading.Event()
        self.hold.set()

    def drain(self, timeout_s: float) -> None:
        self.calls.append("drain")
        self.hold.wait(timeout_s)

    def finish_and_stop(self, timeout_s: float) -> None:
        self.calls.append("finish")
        self.hold.wait(timeout_s)


class Life:
    """A lifecycle with fakes, and the signals and exits that it sent."""

    def __init__(self, folder: Path, runner: Callable[..., Any], **settings: Any) -> None:
        self.settings = load_settings(DATA_DIR=str(folder), DEVICE="cpu", **settings)
        self.state = WorkerState()
        self.runners: list[FakeRunner] = []
        self._make = runner
        files = SimpleNamespace(run=folder / "run", cache=folder / "cache")
        parts = Parts(test_boot.entries(), self._runner)
        self.lifecycle = Lifecycle(self.settings, self.state, None, files, parts)
        self.place: Place = lone_place(self.settings)

    def _runner(self, **arguments: Any) -> Any:
        self.runners.append(self._make(**arguments))
        return self.runners[-1]

    def start(self) -> Life:
        self.lifecycle.start(self.place)
        return self

    def wait(self, what: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 10
        while not what():
            assert time.monotonic() < deadline, f"{self.state}"
            time.sleep(0.01)

    def ready(self) -> FakeRunner:
        self.wait(lambda: self.state.ready)
        return self.runners[0]


class Lives:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Life] = []

    def __call__(self, runner: Callable[..., Any] = FakeRunner, **settings: Any) -> Life:
        self.made.append(Life(self.folder, runner, **settings))
        return self.made[-1]


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Signals that the lifecycle sends to its own process; none arrives."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *call: sent.append(call))
    return sent


@pytest.fixture
def life(tmp_path: Path, signals: object) -> Iterator[Lives]:
    lives = Lives(tmp_path)
    yield lives
    for made in lives.made:
        made.lifecycle.stop(2)
        bench = made.lifecycle._bench
        if bench is not None:
            bench.lease.release()


def test_a_worker_loads_then_is_ready(life: Lives) -> None:
    one = life()
    assert one.state.phase is Phase.LOADING
    one.start().ready()
    assert one.state.reason == ""
    assert one.place.note.read() == (Outcome.READY, "")


def test_start_never_blocks(life: Lives) -> None:
    began = time.monotonic()
    life(lambda **arguments: time.sleep(0.5) or FakeRunner(**arguments)).start()  # type: ignore[func-returns-value]
    assert time.monotonic() - began < 0.3


def test_drain_says_so_and_gives_the_jobs_back(life: Lives) -> None:
    one = life().start()
    runner = one.ready()
    one.lifecycle.drain("SIGTERM")
    one.wait(lambda: runner.calls == ["drain"])
    assert one.state.draining.is_set()
    assert (one.state.phase, one.state.reason) == (Phase.DRAINING, "SIGTERM")


def test_stop_drains_once_and_stops_the_lane(life: Lives) -> None:
    one = life().start()
    runner = one.ready()
    one.lifecycle.drain("SIGTERM")
    one.lifecycle.stop(5)
    assert runner.calls == ["drain"]
    assert "lane" not in [thread.name for thread in threading.enumerate()]


def test_stop_does_not_wait_for_a_job_longer_than_it_was_told(life: Lives) -> None:
    one = life().start()
    one.ready().hold.clear()
    began = time.monotonic()
    one.lifecycle.stop(0.5)
    assert time.monotonic() - began < 2


def test_a_drain_while_booting_ends_the_boot_and_is_no_failure(life: Lives) -> None:
    gate = threading.Event()

    def slow(**arguments: Any) -> FakeRunner:
        gate.wait(10)
        return FakeRunner(**arguments)

    one = life(slow).start()
    one.wait(lambda: one.state.reason == "starting the job runner")
    one.lifecycle.drain("SIGTERM")
    one.wait(one.state.draining.is_set)
    gate.set()
    one.wait(lambda: one.runners and one.runners[0].calls == ["drain"])
    assert one.state.phase is Phase.DRAINING


def test_a_boot_that_fails_says_why_on_the_board_and_ends_the_process(
    life: Lives, signals: list[tuple[int, int]]
) -> None:
    one = life(test_boot.BrokenRunner).start()
    one.wait(lambda: signals)
    assert one.state.phase is Phase.FAILED
    assert one.place.note.read() == (Outcome.FAILED, "OSError: the store cannot be used")
    assert signals == [(os.getpid(), signal.SIGTERM)]


def test_a_boot_that_can_never_work_is_final_on_the_board(
    life: Lives, signals: list[tuple[int, int]]
) -> None:
    one = life(LIPSYNC_MODEL="none").start()
    one.wait(lambda: signals)
    outcome, text = one.place.note.read()
    assert outcome is Outcome.REFUSED
    assert "no lip-sync model is called 'none'" in text
    assert one.state.reason == text


def test_a_boot_that_hangs_is_ended_with_the_step_it_hangs_in(
    life: Lives, signals: list[tuple[int, int]]
) -> None:
    gate = threading.Event()
    one = life(lambda **arguments: gate.wait(10), BOOT_TIMEOUT_S=0.3).start()
    one.wait(lambda: signals)
    one.lifecycle.drain("SIGTERM")
    one.wait(one.state.draining.is_set)
    gate.set()
    assert one.state.phase is Phase.FAILED
    assert one.place.note.read() == (Outcome.FAILED, one.state.reason)
    assert one.state.reason == (
        "not ready within 0.3 s (BOOT_TIMEOUT_S), while starting the job runner"
    )


def test_a_worker_whose_master_is_gone_drains(life: Lives, monkeypatch: pytest.MonkeyPatch) -> None:
    one = life().start()
    runner = one.ready()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    one.wait(lambda: runner.calls == ["drain"])
    assert one.state.reason == "the master is gone"


def test_enough_finished_jobs_recycle_the_worker_after_the_running_ones(
    life: Lives, signals: list[tuple[int, int]]
) -> None:
    one = life(GUNICORN_MAX_JOBS=2).start()
    runner = one.ready()
    runner.hold.clear()
    runner.finished = 2
    one.wait(lambda: runner.calls == ["finish"])
    time.sleep(1.2)
    assert signals == []
    assert one.state.ready
    runner.hold.set()
    one.wait(lambda: signals)
    assert runner.calls == ["finish"]
    assert signals == [(os.getpid(), signal.SIGTERM)]


def test_figures_that_cannot_be_measured_do_not_end_the_keeper(
    life: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> int:
        raise OSError("no /proc")

    monkeypatch.setattr(lifecycle_module, "rss_bytes", broken)
    one = life().start()
    runner = one.ready()
    time.sleep(1.2)
    one.lifecycle.drain("SIGTERM")
    one.wait(lambda: runner.calls == ["drain"])


def test_a_lost_device_turns_the_worker_red_and_ends_the_process(
    life: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    one = life().start()
    one.ready()
    one.lifecycle.device_lost("device-side assert triggered")
    assert (one.state.phase, one.state.reason) == (Phase.FAILED, "device-side assert triggered")
    one.wait(lambda: exits == [1])


def restarts() -> float:
    return metrics.REGISTRY.get_sample_value("mouthpiece_worker_restarts_total") or 0.0


def test_starts_beyond_the_first_set_of_workers_are_restarts(life: Lives) -> None:
    board, before = Board(), restarts()
    one = life()
    one.place = replace(one.place, board=board, gpus=replace(one.place.gpus, workers=2))
    for _ in range(2):
        board.count_start()
    one.start().ready()
    assert restarts() == before
    for _ in range(3):  # the other worker, again and again
        board.count_start()
    one.wait(lambda: restarts() == before + 3)


def test_a_gpu_s_memory_and_utilisation_are_told_every_second(
    life: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class FakeNvml:
        def __init__(self, uuid: str) -> None:
            asked.append(uuid)

        def read(self) -> Reading:
            return Reading(3, 24, 0.5, 60.0)

    gpu = DeviceReport(kind="cuda", memory_allocated_bytes=1, memory_reserved_bytes=2, uuid="0aa")
    monkeypatch.setattr(lifecycle_module, "Nvml", FakeNvml)
    monkeypatch.setattr(lifecycle_module, "device_memory", lambda device: device)
    one = life()
    one.state.device = gpu
    for _ in range(2):
        one.lifecycle._measure()
    assert asked == ["0aa"]
    read = metrics.REGISTRY.get_sample_value
    assert read("mouthpiece_gpu_utilization_ratio", {"gpu": "0aa"}) == 0.5
    assert read("mouthpiece_device_memory_bytes", {"kind": "reserved"}) == 2
    metrics.set_gpu("0aa", None)
    metrics.DEVICE_MEMORY_BYTES.clear()


def test_one_of_several_workers_writes_its_metrics_down_every_fifth_second(
    life: Lives, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.lifecycle._TICK_S", 0.1)
    one = life()
    one.place = replace(one.place, gpus=replace(one.place.gpus, workers=2))
    one.start().ready()

    def told() -> str:
        presence = one.place.desk.read()
        return presence.metrics if presence else ""

    one.wait(lambda: "mouthpiece_phase" in told())
    say = one.lifecycle._say
    writings: list[tuple[bool, bool]] = []

    def spied(place: Any, *, fresh: bool = True) -> None:
        metrics.OOMS.labels("new engine").inc()
        before = told()
        say(place, fresh=fresh)
        writings.append((fresh, told() != before))

    monkeypatch.setattr(one.lifecycle, "_say", spied)
    one.wait(lambda: len(writings) >= 10)
    fresh = [number for number, (wanted, _) in enumerate(writings[:10]) if wanted]
    assert len(fresh) == 2
    assert fresh[1] - fresh[0] == 5
    assert all(wanted == changed for wanted, changed in writings)
    assert "new engine" in told()
