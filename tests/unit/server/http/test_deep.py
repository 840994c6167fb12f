"""/health/deep."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from server.http import deep
from server.jobs.database import StoreError
from server.state import DeviceReport, Phase
from server.texts import Source, Texts
from tests.unit.server.http.house import House

READY = {"viseme": "ready", "viseme-audio": "ready", "haar": "ready"}


@pytest.fixture(autouse=True)
def booted(house: House) -> None:
    house.state.models, house.state.detector = dict(READY), "haar"
    house.state.lipsync = ("viseme",)


def test_a_worker_that_stands_well_says_so_with_every_model(house: House) -> None:
    answer = house.get("/health/deep")
    body = answer.json
    assert (answer.status_code, body["status"], body["phase"]) == (200, "healthy", "ready")
    assert body["checks"] == {
        "model_loaded": True,
        "gpu_available": False,
        "database_connected": True,
        "disk_space_ok": True,
        "memory_ok": True,
    }
    assert body["face_detector"] == "haar"
    assert body["models"]["ready"] == ["haar", "viseme-audio", "viseme"]
    assert set(body["models"]["missing"]) >= {"yunet", "wav2lip", "musetalk", "musetalk-v1.5"}
    assert body["models"]["not loaded"] == ["mel"]
    assert "`python -m scripts.download_models --only yunet` gets it" in body["problems"]["yunet"]


def test_text_models_and_those_of_another_catalogue_are_there_too(tmp_path: Path) -> None:
    house = House(tmp_path, texts=Texts([Source("tale", tmp_path, eager=False)]))
    house.state.models = {**READY, "mine": "failed: it is broken"}
    body = house.get("/health/deep").json
    assert body["models"]["on demand"] == ["tale"]
    assert body["models"]["failed"] == ["mine"]
    assert body["problems"]["mine"] == "failed: it is broken"
    house.close()


def check_fails(house: House, check: str, words: str) -> None:
    answer = house.get("/health/deep")
    assert (answer.status_code, answer.json["status"]) == (503, "unhealthy")
    assert answer.json["checks"][check] is False
    assert words in answer.json["problems"].get(check, "")


def test_a_default_model_that_is_not_ready_is_unhealthy(house: House) -> None:
    house.state.models["viseme"] = "loading"
    check_fails(house, "model_loaded", "")


def test_a_store_that_cannot_be_asked_is_unhealthy(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise StoreError("the job store failed: locked")

    monkeypatch.setattr(house.store, "counts", broken)
    check_fails(house, "database_connected", "locked")


def test_a_full_disk_is_unhealthy(tmp_path: Path) -> None:
    house = House(tmp_path, MIN_FREE_DISK_BYTES=10**18)
    house.state.models = dict(READY)
    check_fails(house, "disk_space_ok", "below MIN_FREE_DISK_BYTES=1000000000000000000")
    house.close()


def test_memory_that_runs_out_is_unhealthy(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    left: Any = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=2**20))
    monkeypatch.setattr(deep, "psutil", left)
    check_fails(house, "memory_ok", "1 MiB of the machine's memory are left")


def test_a_worker_above_its_own_limit_is_unhealthy(tmp_path: Path) -> None:
    house = House(tmp_path, GUNICORN_MAX_MEMORY=1)
    house.state.models = dict(READY)
    check_fails(house, "memory_ok", "above GUNICORN_MAX_MEMORY=1")
    house.close()


def test_a_worker_that_failed_is_unhealthy(house: House) -> None:
    house.state.phase = Phase.FAILED
    answer = house.get("/health/deep")
    assert (answer.status_code, answer.json["phase"]) == (503, "failed")


def test_a_gpu_is_told(house: House) -> None:
    house.state.device = DeviceReport(kind="cuda", name="GPU X")
    assert house.get("/health/deep").json["checks"]["gpu_available"] is True


def test_it_answers_without_a_key_on_the_ops_listener_only(tmp_path: Path) -> None:
    house = House(tmp_path, api_key="correct horse")
    assert house.get("/health/deep").status_code == 401
    assert house.ops.test_client().get("/health/deep").get_json()["checks"]
    house.close()
