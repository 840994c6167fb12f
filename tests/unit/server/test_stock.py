"""A worker's models: what must load, what may fail, and the tools that jobs get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from models.catalog import ModelEntry, ModelKind
from models.lane import Lane, Priority
from models.lipsync.viseme import AT_REST
from models.registry import ModelError, Registry
from runtime.sessions import ProviderError
from server.device import BootError
from server.lineup import Lineup
from server.settings import load_settings
from server.state import DeviceReport, WorkerState
from server.stock import LipSyncEngine, Stock


class Backend:
    """A lip-sync backend that multiplies numbers; also the detector, landmarks and speech model."""

    speech = "voice"
    max_batch = 8

    def __init__(self, factor: int, device: str, *, network: bool = False) -> None:
        self.factor = factor
        self.device = device
        self.infers = self.wants_landmarks = network

    def clone(self) -> Backend:
        return Backend(self.factor, self.device)

    def render(self, items: Sequence[int]) -> list[int]:
        return [self.factor * item for item in items]


def load(device: str, weights_dir: Path) -> object:
    return Backend(2, device)


def load_network(device: str, weights_dir: Path) -> object:
    return Backend(3, device, network=True)


def load_broken(device: str, weights_dir: Path) -> object:
    raise ValueError("bad weights")


def load_on_the_cpu_only(device: str, weights_dir: Path) -> object:
    if device == "cuda":
        raise ProviderError("ONNX Runtime runs it on the CPU")
    return Backend(2, device)


def load_nowhere(device: str, weights_dir: Path) -> object:
    if device == "cuda":
        raise ProviderError("ONNX Runtime runs it on the CPU")
    raise ValueError("bad weights")


class House:
    """A stock with its registry and lane."""

    def __init__(self, lineup: Lineup, settings: dict[str, Any], **loaders: str) -> None:
        kinds = {"haar": "load", "net": "load_network", "viseme": "load", "voice": "load"}
        entries = [
            ModelEntry(name, ModelKind.AUDIO, f"{__name__}:{loader}")
            for name, loader in {**kinds, **loaders}.items()
        ]
        self.state = WorkerState()
        self.registry = Registry(entries)
        self.stock = Stock(load_settings(**settings), self.state, self.registry, lineup)
        self.lane: Lane | None = None

    def tools(self, name: str) -> Any:
        if self.lane is None:
            self.lane = Lane(self.stock.engines())
            self.lane.start()
        return self.stock.tools(self.lane, Path("cache"), name)


class Houses:
    def __init__(self) -> None:
        self.made: list[House] = []

    def __call__(
        self, lineup: Lineup, settings: dict[str, Any] | None = None, **loaders: str
    ) -> House:
        self.made.append(House(lineup, settings or {}, **loaders))
        return self.made[-1]


@pytest.fixture
def house() -> Iterator[Houses]:
    houses = Houses()
    yield houses
    for made in houses.made:
        if made.lane is not None:
            made.lane.stop()


ALONE = Lineup(("haar",), ("viseme",))
BOTH = Lineup(("haar",), ("net", "viseme"), "marks")


def test_a_job_s_tools_lead_into_the_lane_and_count_as_one_caller_each(house: Houses) -> None:
    one = house(ALONE, {"MAX_FPS": 50, "X264_CRF": 30})
    one.stock.load()
    mine, theirs = one.tools("viseme"), one.tools("viseme")
    assert mine.submit(21).result(10) == 42
    assert mine.detector is not theirs.detector
    assert mine.speech is theirs.speech is one.registry.get("voice")
    assert (mine.limits.max_fps, mine.encoding.crf) == (50, 30)
    assert mine.cache_dir == Path("cache")
    assert mine.rest is None


def test_each_lip_sync_model_has_an_engine_of_its_own(house: Houses) -> None:
    one = house(BOTH, marks="load")
    one.stock.load()
    assert [engine.name for engine in one.stock.engines()] == ["net", "viseme"]
    assert one.tools("net").submit(5).result(10) == 15
    assert one.tools("viseme").submit(5).result(10) == 10
    assert one.state.lipsync == ("net", "viseme")


def test_a_network_has_the_embedded_backend_for_silence(house: Houses) -> None:
    one = house(BOTH, marks="load")
    one.stock.load()
    rest = one.tools("net").rest
    assert rest.lipsync is one.registry.get("viseme")
    assert rest.submit(5).result(10) == 10
    assert rest.feature is AT_REST


def test_rest_may_be_switched_off_and_needs_the_embedded_backend(house: Houses) -> None:
    off = house(BOTH, {"REST_IN_SILENCE": False}, marks="load")
    off.stock.load()
    assert off.tools("net").rest is None
    without = house(Lineup(("haar",), ("net",)))
    without.stock.load()
    assert without.tools("net").rest is None


def test_the_engine_s_batch_is_the_smaller_of_backend_and_setting() -> None:
    backend: Any = Backend(2, "cpu")
    assert LipSyncEngine("viseme", backend, 4).max_batch == 4
    assert LipSyncEngine("viseme", backend, 99).max_batch == 8


def test_landmarks_are_loaded_only_where_a_backend_wants_them(house: Houses) -> None:
    one = house(Lineup(("haar",), ("viseme",), "marks"), marks="load")
    one.stock.load()
    assert one.registry.loads["marks"] == 0
    two = house(BOTH, marks="load")
    two.stock.load()
    assert two.registry.loads["marks"] == 1
    assert two.tools("net").landmarks is two.registry.get("marks")
    assert two.tools("viseme").landmarks is None


def test_without_a_landmark_model_the_worker_starts(house: Houses) -> None:
    one = house(BOTH, marks="load_broken")
    one.stock.load()
    assert one.registry.status()["marks"] == "failed: ValueError: bad weights"
    assert one.tools("net").submit(1).result(10) == 3
    assert one.tools("net").landmarks is None


def test_a_detector_that_fails_leaves_the_place_to_the_next(house: Houses) -> None:
    one = house(Lineup(("yunet", "haar"), ("viseme",)), yunet="load_broken")
    one.stock.load()
    assert one.state.detector == "haar"
    assert one.registry.status()["yunet"] == "failed: ValueError: bad weights"
    two = house(Lineup(("yunet", "haar"), ("viseme",)), yunet="load")
    two.stock.load()
    assert two.state.detector == "yunet"
    assert two.registry.loads["haar"] == 0


class Sharpener:
    """A restorer that adds."""

    name, label, size_px, max_batch, priority = "restorer", "gfpgan-x", 512, 2, Priority.BATCH

    def run(self, items: Sequence[int]) -> list[int]:
        return [item + 100 for item in items]


def load_sharpener(device: str, weights_dir: Path) -> object:
    return Sharpener()


RESTORED = Lineup(("haar",), ("viseme",), restorer="gfp")


def test_a_restorer_is_an_engine_of_its_own_for_every_job(house: Houses) -> None:
    one = house(RESTORED, gfp="load_sharpener")
    one.stock.load()
    restore = one.tools("viseme").restore
    assert (restore.name, restore.size_px, restore.max_batch) == ("gfpgan-x", 512, 2)
    assert restore.submit(5).result(10) == 105


def test_a_restorer_that_fails_leaves_jobs_without(house: Houses) -> None:
    one = house(RESTORED, gfp="load_broken")
    one.stock.load()
    assert one.tools("viseme").restore is None


@pytest.mark.parametrize("broken", ["haar", "viseme", "voice"])
def test_detector_default_model_and_its_speech_model_must_load(house: Houses, broken: str) -> None:
    one = house(ALONE, None, **{broken: "load_broken"})
    with pytest.raises(BootError, match=f"'{broken}' cannot be loaded on cpu: ValueError") as info:
        one.stock.load()
    assert not info.value.final


def test_another_model_that_fails_is_left_out_and_the_default_works(house: Houses) -> None:
    one = house(Lineup(("haar",), ("viseme", "net")), net="load_broken")
    one.stock.load()
    assert one.state.lipsync == ("viseme", "net")
    assert [engine.name for engine in one.stock.engines()] == ["viseme"]
    assert one.tools("viseme").submit(1).result(10) == 2
    with pytest.raises(ModelError, match="'net' is not loaded"):
        one.tools("net")


def test_a_model_without_its_speech_model_has_no_engine(house: Houses) -> None:
    one = house(Lineup(("haar",), ("viseme", "net")), net="load_mute")
    one.stock.load()
    assert [engine.name for engine in one.stock.engines()] == ["viseme"]


def load_mute(device: str, weights_dir: Path) -> object:
    backend = Backend(3, device, network=True)
    backend.speech = "gone"
    return backend


def on_a_gpu(house: House) -> House:
    house.state.device = DeviceReport(kind="cuda", name="H200")
    return house


def test_a_silent_fall_back_is_refused_where_a_gpu_is_asked_for(house: Houses) -> None:
    one = on_a_gpu(house(ALONE, {"REQUIRE_GPU": True}, voice="load_on_the_cpu_only"))
    with pytest.raises(BootError, match="REQUIRE_GPU=1: .*ONNX Runtime runs it on the CPU") as info:
        one.stock.load()
    assert info.value.final


def test_a_silent_fall_back_is_said_and_taken_where_none_is_asked_for(house: Houses) -> None:
    one = on_a_gpu(house(ALONE, voice="load_on_the_cpu_only"))
    one.stock.load()
    assert one.registry.get("voice").device == "cpu"
    assert one.registry.get("viseme").device == "cuda"


def test_a_model_that_fails_on_the_cpu_too_ends_the_boot(house: Houses) -> None:
    one = on_a_gpu(house(ALONE, voice="load_nowhere"))
    with pytest.raises(BootError, match="'voice' cannot be loaded on cpu: ValueError: bad weights"):
        one.stock.load()
