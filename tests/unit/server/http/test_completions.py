"""POST /v1/completions, whole and streamed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.text.request import Finish, TextPiece, TextRequest, TextStream
from tests.unit.server.http.house import House
from tests.unit.server.http.writers import ScriptedEngine, texts

URL = "/v1/completions"


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def house(tmp_path: Path, engine: ScriptedEngine) -> Iterator[House]:
    made = House(tmp_path, texts=texts(tmp_path, engine, other=ScriptedEngine(["else"])))
    yield made
    made.close()


def events(answer: Any) -> list[Any]:
    """The data of a stream; it ends with [DONE]."""
    assert answer.mimetype == "text/event-stream"
    lines = [line for line in answer.text.split("\n\n") if line and not line.startswith(":")]
    assert all(line.startswith("data: ") for line in lines)
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_completion_has_openais_shape(house: House) -> None:
    body = house.post(URL, json={"prompt": "zero"}).json
    assert body["id"].startswith("cmpl-")
    assert (body["object"], body["model"]) == ("text_completion", "tale")
    assert body["choices"] == [
        {"index": 0, "text": "one two", "logprobs": None, "finish_reason": "stop"}
    ]
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}


def test_a_model_is_chosen_by_name(house: House) -> None:
    body = house.post(URL, json={"model": "other", "prompt": "a"}).json
    assert (body["model"], body["choices"][0]["text"]) == ("other", "else")


def test_an_unknown_model_is_404_with_those_there_are(house: House) -> None:
    answer = house.post(URL, json={"model": "gpt-4", "prompt": "a"})
    assert (answer.status_code, answer.json["error"]["code"]) == (404, "model_not_found")
    assert answer.json["error"]["message"] == (
        "no text model is called 'gpt-4'; there are: tale, other"
    )
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("prompt", "ids"),
    [
        ("ab", [(97, 98)]),
        (["a", "b"], [(97,), (98,)]),
        ([1, 2], [(1, 2)]),
        ([[1], [2, 3]], [(1,), (2, 3)]),
        ("", [(0,)]),
        (None, [(0,)]),
        ([[]], [(0,)]),
    ],
)
def test_a_prompt_is_a_text_or_ids_or_lists_of_them(
    house: House, engine: ScriptedEngine, prompt: Any, ids: list[tuple[int, ...]]
) -> None:
    body = house.post(URL, json={"prompt": prompt}).json
    assert [wanted.prompt_ids for wanted in engine.requests] == ids
    assert [choice["index"] for choice in body["choices"]] == list(range(len(ids)))
    assert body["usage"]["prompt_tokens"] == sum(map(len, ids))


def test_every_field_reaches_the_engine(house: House, engine: ScriptedEngine) -> None:
    sent = {
        "prompt": "a",
        "max_tokens": 5,
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 3,
        "seed": 7,
        "stop": ["x", "y"],
        "presence_penalty": 1,
        "frequency_penalty": -1,
        "logit_bias": {"65": -100},
        "logprobs": 2,
        "echo": True,
        "ignore_eos": True,
        "user": "me",
        "metadata": {"a": "b"},
        "best_of": 1,
        "suffix": None,
    }
    assert house.post(URL, json=sent).status_code == 200
    assert engine.requests == [
        TextRequest(
            prompt_ids=(97,),
            max_tokens=5,
            temperature=0,
            top_p=0.5,
            top_k=3,
            seed=7,
            stop=("x", "y"),
            presence_penalty=1,
            frequency_penalty=-1,
            logit_bias={65: -100},
            logprobs=2,
            echo=True,
            ignore_eos=True,
            stream=False,
        )
    ]


def test_n_texts_of_one_prompt_count_on_from_the_seed(house: House, engine: ScriptedEngine) -> None:
    body = house.post(URL, json={"prompt": ["a", "b"], "n": 2, "seed": 5, "stop": "z"}).json
    assert [(each.prompt_ids, each.seed) for each in engine.requests] == [
        ((97,), 5),
        ((97,), 6),
        ((98,), 5),
        ((98,), 6),
    ]
    assert engine.requests[0].stop == ("z",)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 8, "total_tokens": 10}


def test_sixteen_tokens_are_written_unless_asked_otherwise(
    house: House, engine: ScriptedEngine
) -> None:
    house.post(URL, json={"prompt": "a", "n": 2})
    assert [(each.max_tokens, each.temperature, each.seed) for each in engine.requests] == [
        (16, 1.0, None)
    ] * 2


@pytest.mark.parametrize(
    ("fields", "param", "words"),
    [
        ({"prompt": 5}, "prompt", "a text, a list of texts"),
        ({"prompt": []}, "prompt", "empty list"),
        ({"prompt": [128]}, "prompt", "no token 128; ids go from 0 to 127"),
        ({"prompt": [-1]}, "prompt", "must be"),
        ({"prompt": ["a", 1]}, "prompt", "must be"),
        ({"prompt": "a", "max_tokens": 501}, "max_tokens", "at most 500"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens", "needs echo=true"),
        ({"prompt": "a", "temperature": "hot"}, "temperature", "temperature='hot'"),
        ({"prompt": "a", "temperature": 3}, "temperature", "less than or equal to 2"),
        ({"prompt": "a", "top_p": 0}, "top_p", "greater than 0"),
        ({"prompt": "a", "n": 0}, "n", "n=0"),
        ({"prompt": "a", "n": 49}, "n", "at most 48 (limit TEXT_SLOTS and TEXT_QUEUE)"),
        ({"prompt": "a", "best_of": 2}, "best_of", "best_of=2"),
        ({"prompt": "a", "suffix": "b"}, "suffix", "only go on"),
        ({"prompt": "a", "logprobs": 6}, "logprobs", "less than or equal to 5"),
        ({"prompt": "a", "stop": ["a", "b", "c", "d", "e"]}, "stop", "up to four texts"),
        ({"prompt": "a", "stop": [""]}, "stop", "1 to 256 characters"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias", "'x' is not a token id"),
        ({"prompt": "a", "logit_bias": {"128": 1}}, "logit_bias", "'128' is not a token id"),
        ({"prompt": "a", "logit_bias": {"1": 101}}, "logit_bias", "logit_bias.1=101"),
        ({"prompt": "a", "max_token": 1}, "max_token", "max_token is not a field"),
        ({"prompt": "a", "stream_options": {}}, "stream_options", "needs stream=true"),
        ({"prompt": "a", "stream": True, "stream_options": {"x": 1}}, "stream_options", "x is not"),
    ],
)
def test_what_is_not_allowed_is_400(
    house: House, engine: ScriptedEngine, fields: dict[str, Any], param: str, words: str
) -> None:
    answer = house.post(URL, json=fields)
    assert answer.status_code == 400
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert answer.json["error"]["param"] == param
    assert words in answer.json["error"]["message"]
    assert not engine.requests


def test_logprobs_have_openais_shape(house: House) -> None:
    body = house.post(URL, json={"prompt": "a", "logprobs": 2}).json
    assert body["choices"][0]["logprobs"] == {
        "tokens": ["one", " two"],
        "token_logprobs": [None, -0.5],
        "top_logprobs": [None, {" two": -0.5, "other": -1.5}],
        "text_offset": [0, 3],
    }
    none = house.post(URL, json={"prompt": "a", "logprobs": 0}).json
    assert none["choices"][0]["logprobs"]["top_logprobs"] is None


def test_a_stream_has_a_chunk_per_piece_and_one_id(house: House, engine: ScriptedEngine) -> None:
    chunks = events(house.post(URL, json={"prompt": "a", "stream": True}))
    assert engine.requests[0].stream
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["one", " two"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, "stop"]
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert all(chunk["object"] == "text_completion" for chunk in chunks)
    assert not [chunk for chunk in chunks if "usage" in chunk]


def test_a_stream_ends_with_usage_when_asked(house: House) -> None:
    sent = {"prompt": "ab", "stream": True, "n": 2, "stream_options": {"include_usage": True}}
    *chunks, last = events(house.post(URL, json=sent))
    assert {chunk["usage"] for chunk in chunks} == {None}
    assert {chunk["choices"][0]["index"] for chunk in chunks} == {0, 1}
    assert last["choices"] == []
    assert last["usage"] == {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}


def test_a_stream_carries_logprobs(house: House) -> None:
    chunks = events(house.post(URL, json={"prompt": "a", "stream": True, "logprobs": 1}))
    assert chunks[1]["choices"][0]["logprobs"]["token_logprobs"] == [-0.5]


def test_a_full_queue_is_429_with_a_time_and_leaves_nothing_behind(
    house: House, engine: ScriptedEngine
) -> None:
    engine.limit = 2
    answer = house.post(URL, json={"prompt": ["a", "b", "c"]})
    assert (answer.status_code, answer.json["error"]["type"]) == (429, "rate_limit_error")
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["retry-after-ms"] == "1000"
    assert "2 requests wait already; at most 2 may" in answer.json["error"]["message"]


def write(*pieces: TextPiece) -> Any:
    def script(_request: TextRequest, stream: TextStream) -> None:
        for piece in pieces:
            stream.put(piece)

    return script


def test_an_error_is_500_before_the_answer_and_an_event_within_a_stream(
    house: House, engine: ScriptedEngine
) -> None:
    engine.script = write(TextPiece("a", 1), TextPiece("", 1, Finish.ERROR, error="no memory"))
    answer = house.post(URL, json={"prompt": "a"})
    assert (answer.status_code, answer.json["error"]["code"]) == (500, "generation_failed")
    first, last = events(house.post(URL, json={"prompt": "a", "stream": True}))
    assert first["choices"][0]["text"] == "a"
    assert last["error"]["message"] == "the text failed: no memory"
    assert last["error"]["type"] == "server_error"


def test_a_text_that_the_servers_end_cut_off_says_so(house: House, engine: ScriptedEngine) -> None:
    engine.script = write(TextPiece("", 0, Finish.CANCELLED))
    answer = house.post(URL, json={"prompt": "a"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    (only,) = events(house.post(URL, json={"prompt": "a", "stream": True}))
    assert only["error"]["code"] == "draining"


def test_an_engine_that_stopped_is_503(house: House, engine: ScriptedEngine) -> None:
    engine.stopped = True
    assert house.post(URL, json={"prompt": "a"}).json["error"]["code"] == "draining"


def test_a_stream_that_is_closed_cancels_its_texts(house: House, engine: ScriptedEngine) -> None:
    engine.script = write(TextPiece("a", 1))
    body = {"prompt": "a", "stream": True}
    answer = house.client.post(URL, json=body, buffered=False)
    assert b'"text": "a"' in next(iter(answer.response))
    answer.close()
    assert [stream.cancelled for stream in engine.streams] == [True]


def test_a_stream_that_was_never_read_cancels_its_texts(
    house: House, engine: ScriptedEngine
) -> None:
    engine.script = write()
    house.client.post(URL, json={"prompt": "a", "stream": True}, buffered=False).close()
    assert [stream.cancelled for stream in engine.streams] == [True]
