"""The boot: lease, device, models, lane, runner; and words for each way it can fail."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import generate_latest

from models.catalog import ModelEntry, ModelKind
from models.lane import BatchReport, Lane
from models.text.base import TextError
from server import metrics
from server.board import Board, Outcome
from server.boot import Boot, Parts, StoppedBootError, Workbench, record_batch
from server.device import BootError
from server.lease import Lease
from server.master import Place
from server.settings import load_settings
from server.slots import Slot
from server.state import WorkerState
from server.textload import TextBench
from server.texts import Served, Source, Texts
from tests.unit.server.http.writers import ScriptedEngine, served

CPU = Slot(0, "", "DEVICE=cpu")


class FakeBackend:
    """A lip-sync backend that doubles numbers; also the detector and the speech model."""

    speech = "voice"
    max_batch = 8
    infers = False
    wants_landmarks = False

    def __init__(self, device: str) -> None:
        self.device = device

    def clone(self) -> FakeBackend:
        return FakeBackend(self.device)

    def render(self, items: Sequence[int]) -> list[int]:
        return [2 * item for item in items]


def load(device: str, weights_dir: Path) -> object:
    return FakeBackend(device)


def load_broken(device: str, weights_dir: Path) -> object:
    raise ValueError("bad weights")


class FakeRunner:
    running = 0
    finished = 0

    def __init__(self, **arguments: Any) -> None:
        self.arguments = arguments
        self.started = False

    def start(self) -> None:
        self.started = True

    def drain(self, timeout_s: float) -> None:
        raise NotImplementedError

    finish_and_stop = drain


class BrokenRunner(FakeRunner):
    def start(self) -> None:
        raise OSError("the store cannot be used")


def entries(speech_loader: str = "load") -> list[ModelEntry]:
    return [
        ModelEntry("haar", ModelKind.FACE, f"{__name__}:load"),
        ModelEntry("viseme", ModelKind.LIPSYNC, f"{__name__}:load"),
        ModelEntry("voice", ModelKind.AUDIO, f"{__name__}:{speech_loader}"),
    ]


class Case:
    """One boot and what it ran with."""

    def __init__(self, folder: Path, parts: Parts, **settings: Any) -> None:
        self.settings = load_settings(DATA_DIR=str(folder), **settings)
        self.state = WorkerState()
        files = SimpleNamespace(run=folder / "run", cache=folder / "cache")
        self.boot = Boot(self.settings, self.state, "the store", files, parts)
        board = Board()
        self.place = Place(CPU, board.note(1), board, None)
        self.bench: Workbench | None = None

    def run(self) -> Workbench:
        self.bench = self.boot.run(self.place, lambda reason: None)
        return self.bench


class Cases:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[Case] = []

    def __call__(self, parts: Parts | None = None, **settings: Any) -> Case:
        parts = parts or Parts(entries(), FakeRunner)
        self.made.append(Case(self.folder, parts, **settings))
        return self.made[-1]


@pytest.fixture
def case(tmp_path: Path) -> Iterator[Cases]:
    cases = Cases(tmp_path)
    yield cases
    for made in cases.made:
        if made.bench is not None:
            made.bench.lane.stop()
            made.bench.lease.release()


def test_a_boot_gives_lease_models_lane_and_a_started_runner(case: Cases) -> None:
    one = case()
    bench = one.run()
    assert bench.lease.held
    assert bench.registry.loads == {"haar": 1, "viseme": 1, "voice": 1}
    assert one.state.models == {"haar": "ready", "viseme": "ready", "voice": "ready"}
    assert isinstance(bench.runner, FakeRunner)
    assert bench.runner.started
    assert bench.runner.arguments["store"] == "the store"
    tools = bench.runner.arguments["tools"]("viseme")
    assert tools.submit(21).result(10) == 42
    assert tools.cache_dir.name == "cache"


def test_the_speech_model_that_the_backend_names_is_loaded(
    case: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeBackend, "speech", "gone")
    with pytest.raises(BootError, match="no model is called 'gone'") as info:
        case().run()
    assert info.value.final


def test_a_model_that_cannot_be_loaded_ends_the_boot_with_its_cause(case: Cases) -> None:
    with pytest.raises(BootError, match="'voice' cannot be loaded on cpu: ValueError: bad") as info:
        case(Parts(entries("load_broken"), FakeRunner)).run()
    assert not info.value.final


def test_a_lip_sync_model_that_does_not_exist_is_final(case: Cases) -> None:
    with pytest.raises(BootError, match="LIPSYNC_MODEL: .*called 'sora'") as info:
        case(LIPSYNC_MODEL="sora").run()
    assert info.value.final


def test_text_models_are_loaded_in_the_boot_and_a_broken_one_does_not_end_it(
    case: Cases, tmp_path: Path
) -> None:
    texts = Texts(
        [Source("tale", tmp_path), Source("cut", tmp_path), Source("x", tmp_path, None, False)]
    )
    engine = ScriptedEngine()

    def opener(source: Source, bench: TextBench) -> Served:
        assert bench.device == "cpu"
        if source.name == "cut":
            raise TextError("it is cut off")
        return served(source.name, engine)

    one = case(Parts(entries(), FakeRunner, texts, opener))
    bench = one.run()
    assert one.state.models == {
        "tale": "ready",
        "cut": "failed: it is cut off",
        "x": "on demand",
        "haar": "ready",
        "viseme": "ready",
        "voice": "ready",
    }
    assert bench.texts is texts
    texts.stop(1)
    assert engine.stopped


def test_a_boot_that_fails_stops_the_text_engines(case: Cases, tmp_path: Path) -> None:
    engine = ScriptedEngine()
    texts = Texts([Source("tale", tmp_path)])
    with pytest.raises(OSError, match="the store"):
        case(Parts(entries(), BrokenRunner, texts, lambda *_: served("tale", engine))).run()
    assert engine.stopped


def test_a_device_that_another_holds_ends_the_boot_after_the_wait(
    case: Cases, tmp_path: Path
) -> None:
    other = Lease(tmp_path / "run" / "device-cpu.lock")
    other.acquire(1)
    one = case(LEASE_TIMEOUT_S=0.2)
    with pytest.raises(BootError, match="LEASE_TIMEOUT_S") as info:
        one.run()
    other.release()
    assert not info.value.final


def test_a_boot_that_waits_for_the_lease_ends_when_the_worker_drains(
    case: Cases, tmp_path: Path
) -> None:
    other = Lease(tmp_path / "run" / "device-cpu.lock")
    other.acquire(1)
    one = case()
    one.state.draining.set()
    with pytest.raises(StoppedBootError):
        one.run()
    other.release()


def test_a_data_folder_that_cannot_be_used_is_final(case: Cases, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    with pytest.raises(BootError, match="no lease on the device") as info:
        case().run()
    assert info.value.final


def test_a_runner_that_cannot_start_leaves_no_lane_behind(
    case: Cases, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[Lane] = []
    real = Lane.stop

    def stop(lane: Lane, timeout_s: float = 10.0) -> None:
        stopped.append(lane)
        real(lane, timeout_s)

    monkeypatch.setattr(Lane, "stop", stop)
    with pytest.raises(OSError, match="the store cannot be used"):
        case(Parts(entries(), BrokenRunner)).run()
    assert len(stopped) == 1


def test_each_step_is_on_the_board_so_that_a_death_has_a_place(case: Cases) -> None:
    one = case(Parts(entries(), BrokenRunner))
    with pytest.raises(OSError, match="store"):
        one.run()
    assert one.place.note.read() == (Outcome.BOOTING, "starting the job runner")


def test_a_batch_is_counted_in_the_metrics() -> None:
    record_batch(BatchReport("an engine", 4, 8, True, 1, 0.01, 0.5))
    text = generate_latest(metrics.REGISTRY).decode()
    for line in (
        'mouthpiece_batch_size_sum{engine="an engine"} 4.0',
        'mouthpiece_batch_fill_sum{engine="an engine"} 0.5',
        'mouthpiece_ooms_total{engine="an engine"} 1.0',
        'mouthpiece_mixed_batches_total{engine="an engine"} 1.0',
        'mouthpiece_lane_busy_seconds_total{engine="an engine"} 0.5',
    ):
        assert line in text


def test_the_real_parts_are_the_catalogue_and_the_job_runner(tmp_path: Path) -> None:
    from server.jobs.runner import JobRunner

    state = WorkerState()
    runner = Parts().runner(
        settings=load_settings(DATA_DIR=str(tmp_path)),
        state=state,
        store=None,
        files=None,
        tools=lambda name: None,
    )
    assert isinstance(runner, JobRunner)
    assert {entry.name for entry in Parts().entries} >= {"haar", "viseme", "viseme-audio"}
    assert time.time() - state.started_at < 60
