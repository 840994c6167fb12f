"""POST /generate, as nano-gpt's clients know it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.server.http.house import House
from tests.unit.server.http.writers import ScriptedEngine, texts


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def house(tmp_path: Path, engine: ScriptedEngine) -> Iterator[House]:
    made = House(tmp_path, texts=texts(tmp_path, engine))
    yield made
    made.close()


def test_the_answer_has_prompt_whole_text_and_count(house: House) -> None:
    answer = house.post("/generate", json={"prompt": "zero ", "max_length": 9})
    assert answer.json == {
        "prompt": "zero ",
        "generated_text": "zero one two",
        "tokens_generated": 2,
    }


def test_the_defaults_are_those_of_nano_gpt(house: House, engine: ScriptedEngine) -> None:
    house.post("/generate", json={"prompt": "ab"})
    (wanted,) = engine.requests
    assert wanted.prompt_ids == (97, 98)
    assert (wanted.max_tokens, wanted.temperature, wanted.top_k) == (100, 0.8, 50)


def test_given_fields_reach_the_engine_and_null_switches_top_k_off(
    house: House, engine: ScriptedEngine
) -> None:
    body = {"prompt": "a", "max_length": 7, "temperature": 1, "top_k": None, "their_own": 1}
    assert house.post("/generate", json=body).status_code == 200
    (wanted,) = engine.requests
    assert (wanted.max_tokens, wanted.temperature, wanted.top_k) == (7, 1.0, None)


def test_the_body_is_json_whatever_its_type_is_called(house: House) -> None:
    answer = house.post("/generate", data=b'{"prompt": "a"}', content_type="text/plain")
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "prompt", "prompt is required"),
        ({"prompt": ""}, "prompt", "at least 1 character"),
        ({"prompt": 5}, "prompt", "prompt=5: Input should be a valid string"),
        (
            {"prompt": "x" * 1001},
            "prompt",
            "1001 characters; at most 1000 (limit MAX_PROMPT_CHARS)",
        ),
        ({"prompt": "a", "max_length": 501}, "max_length", "at most 500 (limit MAX_NEW_TOKENS)"),
        ({"prompt": "a", "max_length": 0}, "max_length", "max_length=0"),
        ({"prompt": "a", "max_length": "9"}, "max_length", "max_length='9'"),
        ({"prompt": "a", "max_length": True}, "max_length", "max_length=True"),
        ({"prompt": "a", "temperature": 2.1}, "temperature", "less than or equal to 2"),
        ({"prompt": "a", "temperature": -1}, "temperature", "temperature=-1"),
        ({"prompt": "a", "top_k": 0}, "top_k", "top_k=0"),
        ({"prompt": "\u00e9"}, "prompt", "'\u00e9' has no token"),
        ([], None, "must be a JSON object"),
    ],
)
def test_what_is_not_allowed_is_400_with_field_value_and_limit(
    house: House, body: Any, param: str | None, words: str
) -> None:
    answer = house.post("/generate", json=body)
    assert answer.status_code == 400
    assert answer.json["error"]["param"] == param
    assert words in answer.json["error"]["message"]


def test_limits_are_settings(tmp_path: Path) -> None:
    house = House(tmp_path, texts=texts(tmp_path), max_prompt_chars=3, max_new_tokens=5)
    assert house.post("/generate", json={"prompt": "abcd"}).status_code == 400
    assert house.post("/generate", json={"prompt": "abc"}).status_code == 400  # 100 new tokens
    assert house.post("/generate", json={"prompt": "abc", "max_length": 5}).status_code == 200
    house.close()


def test_damaged_json_is_400(house: House) -> None:
    assert house.post("/generate", data=b"{").json["error"]["code"] == "invalid_json"
