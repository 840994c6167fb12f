"""Waiting for texts: metrics, clients that leave, models that come."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.text.base import TextError
from models.text.request import Finish, TextPiece, TextRequest, TextStream
from server import metrics
from server.http import writing
from server.http.writing import ClientLine
from server.texts import Source, Texts
from tests.unit.server.http.house import House
from tests.unit.server.http.writers import ScriptedEngine, later, served, texts

URL = "/v1/completions"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    yield ours, theirs
    ours.close()
    theirs.close()


def test_a_client_is_there_until_it_closes(pair: tuple[socket.socket, socket.socket]) -> None:
    line = ClientLine({"gunicorn.socket": pair[0]})
    assert not line.gone()
    pair[1].sendall(b"more")
    assert not line.gone()
    pair[1].close()
    assert line.gone()
    assert not ClientLine({}).gone()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 2])
def test_a_client_that_leaves_ends_its_texts(
    tmp_path: Path, pair: tuple[socket.socket, socket.socket], stream: bool, n: int
) -> None:
    engine = ScriptedEngine()
    engine.script = lambda request, stream: None
    house = House(tmp_path, texts=texts(tmp_path, engine))
    later(0.3, pair[1].close)
    began = time.monotonic()
    body = {"prompt": "a", "stream": stream, "n": n}
    house.post(URL, json=body, environ_overrides={"gunicorn.socket": pair[0]})
    assert time.monotonic() - began < 2
    assert all(each.cancelled for each in engine.streams)
    house.close()


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_is_cut_off_with_a_word_before_the_server_ends(tmp_path: Path, stream: bool) -> None:
    engine = ScriptedEngine()
    house = House(tmp_path, texts=texts(tmp_path, engine), graceful_timeout_s=1)
    engine.script = lambda request, stream: house.state.draining.set()
    answer = house.post(URL, json={"prompt": "a", "stream": stream})
    assert answer.status_code == (200 if stream else 503)
    assert "the text was cut off: this server is ending" in answer.text
    assert [each.cancelled for each in engine.streams] == [True]
    house.close()


def test_a_stream_shows_signs_of_life_while_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.http.sse._PING_S", 0.2)
    engine = ScriptedEngine()

    def script(_request: TextRequest, stream: TextStream) -> None:
        later(1.0, lambda: stream.put(TextPiece("late", 1, Finish.STOP)))

    engine.script = script
    house = House(tmp_path, texts=texts(tmp_path, engine))
    answer = house.post(URL, json={"prompt": "a", "stream": True})
    assert answer.text.count(": ping") >= 2
    assert "late" in answer.text
    house.close()


def test_waiting_on_the_hub_sleeps_cooperatively(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = ScriptedEngine()
    engine.script = lambda request, stream: later(
        0.1, lambda: stream.put(TextPiece("x", 1, Finish.STOP))
    )
    waits: list[float] = []
    real = TextStream.poll

    def poll(stream: TextStream, timeout_s: float = 0.0) -> TextPiece | None:
        waits.append(timeout_s)
        return real(stream, timeout_s)

    monkeypatch.setattr(TextStream, "poll", poll)
    monkeypatch.setattr(writing, "on_hub", lambda: True)
    house = House(tmp_path, texts=texts(tmp_path, engine))
    assert house.post(URL, json={"prompt": "a"}).status_code == 200
    assert set(waits) == {0.0}
    house.close()


def test_a_model_on_demand_is_waited_for(tmp_path: Path) -> None:
    made = Texts([Source("tale", tmp_path / "tale", eager=False)])
    house = House(tmp_path, texts=made)

    def load() -> None:
        made.put(str(made.wanted.get()), served("tale", ScriptedEngine()))

    later(0.0, load)
    assert house.post(URL, json={"prompt": "a"}).status_code == 200
    assert made.statuses() == {"tale": "ready"}
    house.close()


def test_what_the_engine_refuses_is_400(tmp_path: Path) -> None:
    engine = ScriptedEngine()

    def refuse(request: TextRequest, stream: TextStream) -> None:
        raise TextError("the prompt is not for this model")

    engine.script = refuse
    house = House(tmp_path, texts=texts(tmp_path, engine))
    answer = house.post(URL, json={"prompt": "a"})
    assert (answer.status_code, answer.json["error"]["message"]) == (
        400,
        "the prompt is not for this model",
    )
    house.close()


def test_a_fault_of_ours_within_a_stream_is_an_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(piece: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("server.http.sse.refuse_failed", broken)
    house = House(tmp_path, texts=texts(tmp_path))
    answer = house.post(URL, json={"prompt": "a", "stream": True})
    assert '"code": "internal"' in answer.text
    assert "secret" not in answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    house.close()


def test_texts_are_counted(tmp_path: Path) -> None:
    def value(name: str, **labels: str) -> float:
        return metrics.REGISTRY.get_sample_value(f"mouthpiece_{name}", labels) or 0.0

    house = House(tmp_path, texts=texts(tmp_path))
    tokens, ended = (
        value("text_tokens_total", model="tale"),
        value("texts_total", model="tale", outcome="stop"),
    )
    firsts = value("text_first_token_seconds_count", model="tale")
    house.post(URL, json={"prompt": "a", "stream": True})
    house.post(URL, json={"prompt": "a"})
    assert value("text_tokens_total", model="tale") == tokens + 4
    assert value("texts_total", model="tale", outcome="stop") == ended + 2
    assert value("text_first_token_seconds_count", model="tale") == firsts + 1
    assert 'mouthpiece_text_active{model="tale"} 2.0' in house.get("/metrics").text
    house.close()
