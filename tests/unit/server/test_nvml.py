"""NVML's figures of one GPU, from a stub of its binding."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from server import metrics
from server.nvml import Nvml, Reading, load_nvml


class NvmlError(Exception):
    """What the binding raises."""


class StubNvml:
    """A binding that knows the GPUs in `names`; what is in `lacks` is not supported."""

    NVMLError = NvmlError
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, *names: str, lacks: tuple[str, ...] = ()) -> None:
        self.names, self.lacks, self.lost = names, lacks, False

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802 - NVML's name
        if uuid not in self.names:
            raise NvmlError("Not Found")
        return uuid

    def nvmlDeviceGetMemoryInfo(self, _handle: str) -> Any:  # noqa: N802 - NVML's name
        if self.lost:
            raise NvmlError("GPU is lost")
        return SimpleNamespace(used=3, total=24)

    def nvmlDeviceGetUtilizationRates(self, _handle: str) -> Any:  # noqa: N802 - NVML's name
        return SimpleNamespace(gpu=self._give("utilization", 40))

    def nvmlDeviceGetTemperature(self, _handle: str, _sensor: int) -> int:  # noqa: N802
        return self._give("temperature", 61)

    def _give(self, name: str, figure: int) -> int:
        if name in self.lacks:
            raise NvmlError("Not Supported")
        return figure


@pytest.mark.parametrize("uuid", ["0aa", "GPU-0aa"])
def test_a_gpu_is_found_by_its_uuid_and_read(uuid: str) -> None:
    assert Nvml(uuid, lambda: StubNvml("GPU-0aa")).read() == Reading(3, 24, 0.4, 61.0)


def test_a_mig_slice_tells_its_memory_and_leaves_out_what_it_does_not_know() -> None:
    stub = StubNvml("MIG-0aa", lacks=("utilization", "temperature"))
    assert Nvml("0aa", lambda: stub).read() == Reading(3, 24, None, None)


def test_a_gpu_that_is_lost_is_said_once_and_read_again_when_it_is_back() -> None:
    stub = StubNvml("GPU-0aa")
    gpu = Nvml("0aa", lambda: stub)
    stub.lost = True
    with capture_logs() as lines:
        assert [gpu.read(), gpu.read()] == [None, None]
    assert [(line["event"], line["error"]) for line in lines] == [("no_gpu_figures", "GPU is lost")]
    stub.lost = False
    assert gpu.read() == Reading(3, 24, 0.4, 61.0)


def test_without_a_driver_or_that_gpu_there_are_no_figures() -> None:
    def no_driver() -> Any:
        raise NvmlError("Driver Not Loaded")

    with capture_logs() as lines:
        assert Nvml("0aa", no_driver).read() is None
        assert Nvml("0aa", lambda: StubNvml("GPU-0bb")).read() is None
    assert [line["error"] for line in lines] == [
        "Driver Not Loaded",
        "NVML knows no GPU with the UUID 0aa",
    ]


def test_the_real_binding_has_what_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    binding = load_nvml()
    used = [name for name in vars(StubNvml) if name.startswith(("nvml", "NVML"))]
    assert len(used) == 6
    assert [name for name in used if not hasattr(binding, name)] == []


@pytest.fixture
def gauges() -> Iterator[None]:
    yield
    metrics.set_gpu("0aa", None)


def gpu_lines() -> list[str]:
    text = metrics.render()[0].decode()
    return [line for line in text.splitlines() if line.startswith("mouthpiece_gpu_")]


@pytest.mark.usefixtures("gauges")
def test_what_a_gpu_tells_becomes_metrics_and_what_it_does_not_is_absent() -> None:
    metrics.set_gpu("0aa", Reading(3, 24, 0.4, 61.0))
    assert gpu_lines() == [
        'mouthpiece_gpu_memory_used_bytes{gpu="0aa"} 3.0',
        'mouthpiece_gpu_memory_total_bytes{gpu="0aa"} 24.0',
        'mouthpiece_gpu_utilization_ratio{gpu="0aa"} 0.4',
        'mouthpiece_gpu_temperature_celsius{gpu="0aa"} 61.0',
    ]
    metrics.set_gpu("0aa", Reading(3, 24))
    assert len(gpu_lines()) == 2
    metrics.set_gpu("0aa", None)
    assert gpu_lines() == []
