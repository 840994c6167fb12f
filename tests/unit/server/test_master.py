"""The master: refusals with reasons, slots, boots that fail, the guard of the fork."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config
from gunicorn.errors import HaltServer

from server import master as master_module
from server.board import Outcome
from server.gpuconfig import plan_gpus
from server.master import OUR_GEVENT, Master, get_master, poisoned, refuse
from server.settings import load_settings
from server.slots import Slot

CPU = (Slot(0, "", "DEVICE=cpu"),)
GPUS = (Slot(0, "0", "found"), Slot(1, "1", "found"))


class FakeLog:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, text: str, *values: Any) -> None:
        self.lines.append(text % values)

    warning = info = error


class FakeServer:
    """What the hooks use of Gunicorn's arbiter, with its real configuration."""

    def __init__(self, **options: Any) -> None:
        self.cfg = Config()
        for name, value in options.items():
            self.cfg.set(name, value)
        self.log = FakeLog()
        self.LISTENERS: list[str] = ["socket"]
        self.num_workers = 1


def config(**options: Any) -> Config:
    return FakeServer(**{"worker_class": "gthread", **options}).cfg


def make(slots: tuple[Slot, ...] = CPU, **settings: Any) -> Master:
    made = load_settings(**{"OPS_PORT": 0, **settings})
    return Master(made, plan_gpus(made, slots))


def worker(age: int) -> Any:
    return SimpleNamespace(age=age, cfg=SimpleNamespace(workers=2))


@pytest.fixture(autouse=True)
def healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver of this machine decides about these tests."""
    monkeypatch.setattr(master_module, "poisoned", lambda: "")


@pytest.mark.parametrize("name", ["gthread", "gunicorn.workers.gthread.ThreadWorker", OUR_GEVENT])
def test_the_worker_classes_that_work_are_accepted(name: str) -> None:
    assert refuse(config(worker_class=name), CPU) == ""


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"worker_class": "sync"}, ["'sync'", "GUNICORN_WORKER_CLASS=gthread"]),
        ({"worker_class": "tornado"}, ["'tornado'", "gthread"]),
        ({"worker_class": "gevent"}, ["'gevent'", "GUNICORN_WORKER_CLASS=gevent", "native"]),
        ({"preload_app": True}, ["preload_app=True", "fork", "GUNICORN_PRELOAD"]),
        ({"workers": 4}, ["4 workers for 1 device slot(s)", "GUNICORN_WORKERS=1", "DEVICE_SLOTS"]),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason_and_the_setting(
    options: dict[str, Any], words: list[str]
) -> None:
    reason = refuse(config(**options), CPU)
    assert all(word in reason for word in words), reason


def test_as_many_workers_as_slots_are_fine() -> None:
    assert refuse(config(workers=2), GPUS) == ""


def test_a_refusal_ends_the_start_with_one_line() -> None:
    server = FakeServer(worker_class="gthread", workers=2)
    with pytest.raises(SystemExit) as info:
        make().on_starting(server)
    assert info.value.code == 2
    assert len(server.log.lines) == 1


def test_max_requests_is_warned_about_and_forced_to_0() -> None:
    server = FakeServer(worker_class="gthread", max_requests=100)
    make().on_starting(server)
    assert server.cfg.max_requests == 0
    assert "GUNICORN_MAX_MEMORY" in server.log.lines[0]
    assert "GUNICORN_MAX_JOBS" in server.log.lines[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_data_folder_that_cannot_be_written_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "temp").mkdir(mode=0o500)
    server = FakeServer(worker_class="gthread")
    with pytest.raises(SystemExit) as info:
        make(DATA_DIR=tmp_path).on_starting(server)
    assert info.value.code == 2
    assert f"may not write to {tmp_path / 'temp'}" in server.log.lines[0]
    assert f"chown -R {os.getuid()}" in server.log.lines[0]


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        yield sock.getsockname()[1]


def test_a_busy_ops_port_is_said_at_start(busy_port: int) -> None:
    server = FakeServer(worker_class="gthread")
    with pytest.raises(SystemExit):
        make(OPS_PORT=busy_port).on_starting(server)
    assert f"OPS_PORT={busy_port}: Address already in use" in server.log.lines[0]


def test_a_new_master_takes_over_the_ops_socket() -> None:
    server = FakeServer(worker_class="gthread")
    server.cfg.env_orig = {}
    old = make()
    old.ops_socket = socket.create_server(("127.0.0.1", 0))
    name = old.ops_socket.getsockname()
    old.pre_exec(server)
    assert old.ops_socket.get_inheritable()
    new = make(OPS_PORT=1)
    new.on_starting(server, int(server.cfg.env_orig[master_module.OPS_FD_VARIABLE]))
    assert new.ops_socket is not None
    assert new.ops_socket.getsockname() == name
    old.ops_socket.detach()
    new.ops_socket.close()


def test_each_worker_gets_the_lowest_free_slot_and_gives_it_back() -> None:
    master, server = make(GPUS), FakeServer()
    for age in (1, 2):
        master.pre_fork(server, worker(age))
    assert [master.place(worker(age)).slot.index for age in (1, 2)] == [0, 1]
    assert master.place(worker(1)).gpus.workers == 2
    master.board.note(1).write(Outcome.READY)
    master.child_exit(server, worker(1))
    master.pre_fork(server, worker(3))
    assert master.place(worker(3)).slot.index == 0
    assert master.board.starts == 3


def test_while_no_slot_is_free_a_new_worker_shares_one() -> None:
    master, server = make(), FakeServer()
    for age in (1, 2):
        master.pre_fork(server, worker(age))
    assert master.place(worker(2)).slot.index == 0


def test_a_poisoned_master_does_not_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master_module, "poisoned", lambda: "CUDA is already initialised")
    with pytest.raises(HaltServer, match="already initialised"):
        make().pre_fork(FakeServer(), worker(1))


def boots(master: Master, server: FakeServer, *outcomes: Outcome) -> None:
    for age, outcome in enumerate(outcomes, 1):
        master.pre_fork(server, worker(age))
        master.board.note(age).write(outcome, "loading models")
        master.child_exit(server, worker(age))


def test_three_boots_that_fail_in_a_row_end_the_server_with_the_last_reason() -> None:
    with pytest.raises(HaltServer, match="3 workers in a row.*died while it was loading") as info:
        boots(make(), FakeServer(), Outcome.FAILED, Outcome.FAILED, Outcome.BOOTING)
    assert info.value.exit_status == 3


@pytest.mark.parametrize("good", [Outcome.READY, Outcome.STOPPED])
def test_a_boot_that_went_well_starts_the_count_again(good: Outcome) -> None:
    boots(make(), FakeServer(), *[Outcome.FAILED] * 2, good, *[Outcome.FAILED] * 2)


def test_a_boot_that_can_never_work_ends_the_server_at_once() -> None:
    with pytest.raises(HaltServer, match="loading models"):
        boots(make(), FakeServer(), Outcome.REFUSED)


def test_nothing_is_halted_while_the_server_stops_anyway() -> None:
    server = FakeServer()
    server.LISTENERS = []
    boots(make(), server, Outcome.REFUSED, *[Outcome.FAILED] * 4)


def test_more_workers_by_signal_are_held_within_the_slots() -> None:
    server = FakeServer()
    master = make()
    master.nworkers_changed(server, 4, None)
    assert server.log.lines == []
    master.nworkers_changed(server, 2, 1)
    assert server.num_workers == 1
    assert "kept at 1" in server.log.lines[0]


def test_the_master_lives_through_reloads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(master_module, "_master", None)
    settings = load_settings(DEVICE="cpu")
    assert get_master(settings, None) is get_master(settings, "0")


def stub(folder: Path, code: int) -> str:
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source = folder / f"cuda{code}.c"
    source.write_text(f"int cuDeviceGetCount(int *n){{*n = 0; return {code};}}\n")
    library = folder / f"libstub{code}.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    return str(library)


def test_a_driver_that_nobody_has_initialised_is_no_poison(tmp_path: Path) -> None:
    assert poisoned(stub(tmp_path, 3)) == ""


@pytest.mark.parametrize("code", [0, 2, 100])
def test_any_other_answer_of_the_driver_is_poison(tmp_path: Path, code: int) -> None:
    text = poisoned(stub(tmp_path, code))
    assert f"cuDeviceGetCount returned {code}" in text
    assert "refused to fork" in text


def test_no_driver_is_no_poison() -> None:
    assert poisoned("libno_such_driver.so.1") == ""


def test_a_total_batch_is_not_divided_among_more_workers_than_was_planned() -> None:
    master = make(GPUS, total_batch_size=8, gunicorn_workers=2)
    server = FakeServer(worker_class="gthread", workers=1)
    with pytest.raises(SystemExit):
        master.on_starting(server)
    assert "TOTAL_BATCH_SIZE=8" in server.log.lines[0]
    assert "set GUNICORN_WORKERS instead of -w" in server.log.lines[0]
    master.on_starting(FakeServer(worker_class="gthread", workers=2))
