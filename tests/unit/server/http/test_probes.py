"""Probes and status."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from server.jobs.database import StoreError
from server.roster import Presence
from server.state import DeviceReport, Phase
from tests.unit.server.http.house import House


@pytest.mark.parametrize(
    ("phase", "health", "ready"),
    [
        (Phase.LOADING, 200, 503),
        (Phase.READY, 200, 200),
        (Phase.DRAINING, 200, 503),
        (Phase.FAILED, 503, 503),
    ],
)
def test_health_tells_the_phase_and_readiness_follows_it(
    house: House, phase: Phase, health: int, ready: int
) -> None:
    house.state.phase, house.state.reason = phase, "why"
    answer = house.get("/health")
    assert (answer.status_code, answer.json["status"]) == (health, phase.value)
    assert answer.json["reason"] == "why"
    answer = house.get("/v2/health/ready")
    assert (answer.status_code, answer.json["ready"]) == (ready, ready == 200)
    assert house.get("/v2/health/live").json == {"live": True}


@pytest.mark.parametrize(
    ("models", "loaded"),
    [({}, False), ({"a": "ready", "b": "loading"}, False), ({"a": "ready"}, True)],
)
def test_models_count_as_loaded_when_all_are(
    house: House, models: dict[str, str], loaded: bool
) -> None:
    house.state.models = models
    assert house.get("/health").json["model_loaded"] is loaded
    assert house.get("/gpu/status").json["models_initialized"] is loaded


def test_health_answers_without_the_store(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_args: object) -> None:
        raise StoreError("database is locked")

    assert "mouthpiece_store_up 1.0" in house.get("/metrics").text
    monkeypatch.setattr(house.store, "_database", None)
    monkeypatch.setattr(house.store, "counts", broken)
    assert house.get("/health").status_code == 200
    assert house.ops.test_client().get("/health").status_code == 200
    text = house.get("/metrics").text
    assert "mouthpiece_store_up 0.0" in text
    assert "mouthpiece_jobs{" not in text


def test_metrics_answer_without_the_disk(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> int:
        raise FileNotFoundError("the disk is gone")

    monkeypatch.setattr(house.files, "free_bytes", gone)
    assert house.get("/metrics").status_code == 200


def test_a_cpu_is_told_as_it_is(house: House) -> None:
    body = house.get("/gpu/status").json
    assert (body["device"], body["pytorch_cuda_available"], body["pytorch_memory"]) == (
        "cpu",
        False,
        None,
    )
    assert body["worker_pid"] == house.state.pid


def test_a_gpu_is_told_in_the_words_its_clients_know(house: House) -> None:
    house.state.device = DeviceReport(
        kind="cuda",
        name="GPU X",
        cuda_visible_devices="1",
        onnx_providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
        gpu_count=1,
        memory_allocated_bytes=2**30,
        memory_reserved_bytes=3 * 2**29,
    )
    body = house.get("/gpu/status").json
    assert body["pytorch_gpu_name"] == "GPU X"
    assert body["onnx_cuda_available"] is True
    assert body["pytorch_memory"] == {"allocated_gb": 1.0, "reserved_gb": 1.5}
    assert body["pytorch_current_device"] == 0
    house.state.device = replace(house.state.device, onnx_providers=("CPUExecutionProvider",))
    assert house.get("/gpu/status").json["onnx_cuda_available"] is False


def test_the_api_test_lists_the_routes(house: House) -> None:
    body = house.get("/api/test").json
    assert body["status"] == "ok"
    assert "/v1/videos" in body["endpoints"]


def test_metrics_count_the_jobs(house: House) -> None:
    answer = house.get("/metrics")
    assert 'mouthpiece_jobs{state="queued"} 0.0' in answer.text
    ops = house.ops.test_client().get("/metrics")
    assert "mouthpiece_jobs" in ops.text


def test_the_ops_app_has_the_one_error_body_too(house: House) -> None:
    answer = house.ops.test_client().get("/v1/videos")
    assert answer.status_code == 404
    assert answer.get_json()["error"]["code"] == "not_found"


def test_every_worker_of_the_server_is_told_and_one_that_is_ready_is_enough(house: House) -> None:
    house.state.phase, house.state.reason = Phase.LOADING, "loading models"
    other = Presence(77, 1, "ready", "", "cpu", 1.0, time.time())
    house.state.roster.desk(5).write(other)
    workers = house.get("/health").json["workers"]
    assert [(one["pid"], one["status"]) for one in workers] == [
        (house.state.pid, "loading"),
        (77, "ready"),
    ]
    assert house.get("/v2/health/ready").status_code == 200
    house.state.roster.desk(5).write(replace(other, at=time.time() - 60))
    answer = house.get("/v2/health/ready")
    assert (answer.status_code, answer.json["reason"]) == (503, "loading models")


def test_metrics_of_the_other_workers_are_told_with_their_slots(house: House) -> None:
    text = "# HELP mouthpiece_frames_total F.\n# TYPE mouthpiece_frames_total counter\n"
    text += "mouthpiece_frames_total 41.0\n"
    house.state.roster.desk(5).write(Presence(77, 1, "ready", "", "cpu", 1.0, time.time(), text))
    assert 'mouthpiece_frames_total{slot="1"} 41.0' in house.get("/metrics").text
