"""Lip-sync models as routes see them: their status, and which a job may name."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from server.http.lips import lip_names, lip_standing
from server.http.service import Service
from server.jobs.job import JobState
from tests.unit.server.http.house import House

Make = Callable[..., House]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes houses, with empty files of these names as weights."""
    made: list[House] = []

    def build(*files: str, **settings: Any) -> House:
        for name in files:
            path = tmp_path / "weights" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        made.append(House(tmp_path, **settings))
        return made[-1]

    yield build
    for house in made:
        house.close()


def booted(house: House, *lipsync: str, **statuses: str) -> House:
    house.state.lipsync = lipsync
    house.state.models = {name.replace("_", "-"): word for name, word in statuses.items()}
    return house


def service_of(house: House) -> Service:
    found: Service = house.app.extensions["mouthpiece"]
    return found


def test_all_lip_sync_models_are_listed_with_their_status(make: Make) -> None:
    house = booted(make("wav2lip.pth"), "viseme", viseme="ready", viseme_audio="ready")
    cards = {card["id"]: card for card in house.get("/v1/models").json["data"]}
    assert list(cards) == ["viseme", "musetalk", "musetalk-v1.5", "wav2lip", "wav2lip-gan"]
    assert cards["viseme"]["status"] == "ready"
    assert cards["wav2lip"]["status"] == "not loaded"
    assert "download_models --only musetalk`" in cards["musetalk"]["status"]
    assert cards["wav2lip-gan"]["status"].startswith("missing: wav2lip_gan.pth is missing in ")
    assert "not commercial" in cards["wav2lip"]["about"]["licence"]


def refused(house: House, video: bytes, audio: bytes, model: str) -> dict[str, Any]:
    parts = {"video": ("v.mp4", video), "audio": ("a.wav", audio), "model": model}
    answer = house.send(parts)
    assert house.uploads() == []
    assert house.store.counts()[JobState.QUEUED] == 0
    error: dict[str, Any] = answer.json["error"]
    assert error["param"] == "model"
    return {"status": answer.status_code, **error}


def test_a_job_for_a_model_without_files_is_refused_with_the_command(
    make: Make, video_bytes: bytes, audio_bytes: bytes
) -> None:
    error = refused(make(), video_bytes, audio_bytes, "musetalk-v1.5")
    assert (error["status"], error["code"]) == (400, "model_missing")
    assert "unet.pth is missing in" in error["message"]
    assert "`python -m scripts.download_models --only musetalk-v1.5`" in error["message"]


def test_a_job_for_a_model_that_is_not_loaded_is_refused_with_the_setting(
    make: Make, video_bytes: bytes, audio_bytes: bytes
) -> None:
    house = booted(make("wav2lip.pth"), "viseme", viseme="ready")
    error = refused(house, video_bytes, audio_bytes, "wav2lip")
    assert (error["status"], error["code"]) == (400, "model_not_loaded")
    assert "LIPSYNC_MODELS=wav2lip loads it" in error["message"]
    assert "Loaded: viseme" in error["message"]


def test_a_job_for_a_model_that_failed_is_503_and_not_to_be_tried_again(
    make: Make, video_bytes: bytes, audio_bytes: bytes
) -> None:
    house = booted(make("wav2lip.pth"), "viseme", "wav2lip", wav2lip="ready", mel="failed: no")
    error = refused(house, video_bytes, audio_bytes, "wav2lip")
    assert (error["status"], error["code"]) == (503, "model_failed")
    assert error["message"].endswith("could not be loaded: no")


@pytest.mark.parametrize("phase", ["before the boot", "loading", "ready"])
def test_a_job_may_name_a_model_from_before_it_is_loaded(
    make: Make, video_bytes: bytes, audio_bytes: bytes, phase: str
) -> None:
    house = make("wav2lip.pth", LIPSYNC_MODELS="wav2lip")
    if phase == "loading":
        booted(house, wav2lip="loading")
    if phase == "ready":
        booted(house, "viseme", "wav2lip", wav2lip="ready", mel="ready")
    parts = {"video": ("v.mp4", video_bytes), "audio": ("a.wav", audio_bytes), "model": "wav2lip"}
    answer = house.send(parts)
    assert (answer.status_code, answer.json["model"]) == (200, "wav2lip")


def test_a_file_that_came_after_the_start_asks_for_another_start(make: Make) -> None:
    house = booted(make("wav2lip.pth"), "viseme", "wav2lip", wav2lip="missing: it was not there")
    assert lip_standing(service_of(house), "wav2lip") == "not loaded"


def test_heygem_s_clients_are_told_of_a_missing_default_in_their_envelope(
    make: Make, video_bytes: bytes, audio_bytes: bytes
) -> None:
    house = make(LIPSYNC_MODEL="wav2lip")
    (house.files.temp / "v.mp4").write_bytes(video_bytes)
    (house.files.temp / "a.wav").write_bytes(audio_bytes)
    order = {"video_url": "v.mp4", "audio_url": "a.wav", "code": "c-1"}
    answer = house.post("/easy/submit", data=json.dumps(order))
    assert (answer.status_code, answer.json["code"], answer.json["success"]) == (200, 10002, False)
    assert "wav2lip.pth is missing in" in answer.json["msg"]


def test_a_default_of_another_catalogue_is_listed_too(make: Make) -> None:
    house = service_of(make(LIPSYNC_MODEL="mine"))
    assert lip_names(house)[0] == "mine"
    assert lip_standing(house, "mine") == "loading"
    house.state.models = {"mine": "ready"}
    assert lip_standing(house, "mine") == "ready"
