"""/v1/models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.texts import Source, Texts
from tests.unit.server.http.house import House
from tests.unit.server.http.writers import ScriptedEngine, texts


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path, texts=texts(tmp_path, ScriptedEngine(), bad="it is cut off"))
    made.state.models = {"viseme": "ready"}
    yield made
    made.close()


def test_the_list_has_text_and_lip_sync_models_with_their_status(house: House) -> None:
    body = house.get("/v1/models").json
    assert body["object"] == "list"
    assert [
        (card["id"], card["kind"], card["status"], card["default"]) for card in body["data"][:3]
    ] == [
        ("tale", "text", "ready", True),
        ("bad", "text", "failed: it is cut off", False),
        ("viseme", "lipsync", "ready", True),
    ]
    assert {card["object"] for card in body["data"]} == {"model"}
    assert body["data"][0]["about"] == {"parameters": 8}


def test_one_model_is_looked_at_by_its_name(house: House) -> None:
    assert house.get("/v1/models/tale").json["id"] == "tale"
    answer = house.get("/v1/models/gpt-4")
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "model_not_found")
    assert "there are: tale, bad, viseme, musetalk, " in answer.json["error"]["message"]


def test_a_model_that_failed_is_503_with_its_reason_and_harms_no_other(house: House) -> None:
    answer = house.post("/v1/completions", json={"model": "bad", "prompt": "a"})
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "model_failed")
    assert "it is cut off" in answer.json["error"]["message"]
    assert answer.headers["x-should-retry"] == "false"
    assert house.post("/v1/completions", json={"prompt": "a"}).status_code == 200


def test_a_server_without_text_models_says_so(tmp_path: Path) -> None:
    house = House(tmp_path)
    answer = house.post("/generate", json={"prompt": "a"})
    assert answer.status_code == 404
    house.close()


def test_a_model_that_loads_for_too_long_is_503_to_try_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.http.writing._LOAD_WAIT_S", 0.1)
    house = House(tmp_path, texts=Texts([Source("tale", tmp_path / "tale", eager=False)]))
    answer = house.post("/generate", json={"prompt": "a"})
    assert (answer.status_code, answer.json["error"]["code"]) == (503, "model_loading")
    assert answer.headers["retry-after-ms"] == "1000"
    house.close()


def test_a_worker_that_ends_takes_no_texts(house: House) -> None:
    house.state.draining.set()
    assert house.post("/generate", json={"prompt": "a"}).status_code == 503
