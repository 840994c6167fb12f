"""What the engine does when something fails, is refused, or it is stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest

from models.lane import LaneError
from models.text.base import TextError, TextModel
from models.text.engine import TextEngine
from models.text.request import (
    EngineStoppedError,
    Finish,
    TextPiece,
    TextRequest,
)
from tests.unit.models.text.textfakes import (
    EOS,
    WAIT_S,
    ByteTokenizer,
    Desk,
    FakeNetwork,
    greedy,
    read,
    shown,
    speak,
    text_of,
    until,
    whole,
)

SAY = "\x01"


class NoEnd(ByteTokenizer):
    eos_id = None


def test_an_empty_prompt_is_refused_where_no_token_starts_a_text() -> None:
    model = TextModel("fake", FakeNetwork(), NoEnd(), 0.0)
    engine = TextEngine(model, lambda step: Future())
    engine.start()
    with pytest.raises(TextError, match="the prompt is empty"):
        engine.generate(TextRequest(()))


@pytest.mark.parametrize(
    ("request_", "where"),
    [
        (TextRequest((1, 257)), "257 in prompt"),
        (TextRequest((1,), logit_bias={-1: 1}), "-1 in log"),
    ],
)
def test_ids_that_the_model_lacks_are_refused(
    desk: Desk, request_: TextRequest, where: str
) -> None:
    with pytest.raises(TextError, match=f"token id {where}.*ids 0 to 256"):
        desk.engine.generate(request_)


def test_an_error_of_one_prompt_harms_no_other(desk: Desk) -> None:
    def rule(kind: str, ids: list[int]) -> None:
        if ord("!") in ids:
            raise ValueError("a bad prompt")

    desk.fake.rule = rule
    fields: dict[str, Any] = {"max_tokens": 8, "temperature": 0.0, "ignore_eos": True}
    desk.fake.gate.clear()
    first = desk.ask("first", **fields)
    until(lambda: desk.engine.stats().active == 1)
    good, bad, fine = (desk.ask(prompt, **fields) for prompt in ("good", "bad!", "fine"))
    desk.fake.gate.set()
    last = read(bad)[-1]
    assert last.finish_reason == "error"
    assert "a bad prompt" in last.error
    for prompt, stream in ((b"first", first), (b"good", good), (b"fine", fine)):
        assert text_of(stream) == shown(greedy(prompt, 8, whole))


def test_an_error_of_one_stream_in_a_batch_harms_no_other(desk: Desk) -> None:
    def rule(kind: str, ids: list[int]) -> None:
        if kind == "decode" and EOS in ids:
            raise ValueError("no more")

    desk.fake.rule = rule
    desk.fake.gate.clear()
    fields: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True}
    bad = desk.ask("bad", logit_bias={EOS: 100.0}, **fields)
    good = [desk.ask(name, max_tokens=8, **fields) for name in ("one", "two")]
    desk.fake.gate.set()
    assert read(bad)[-1].finish_reason == "error"
    assert [text_of(s) for s in good] == [shown(greedy(p, 8, whole)) for p in (b"one", b"two")]


def test_a_token_that_cannot_be_decoded_fails_its_text_alone(desk: Desk) -> None:
    def token_bytes(token_id: int) -> bytes:
        if token_id == EOS:
            raise ValueError("no such piece")
        return bytes([token_id])

    desk.model.tokenizer.token_bytes = token_bytes  # type: ignore[method-assign]
    desk.fake.gate.clear()
    fields: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True, "max_tokens": 8}
    bad = desk.ask("bad", logit_bias={EOS: 100.0}, **fields)
    good = desk.ask("good", **fields)
    desk.fake.gate.set()
    assert "no such piece" in read(bad)[-1].error
    assert text_of(good) == shown(greedy(b"good", 8, whole))


def test_a_network_that_gives_no_number_fails_that_text_alone(desk: Desk) -> None:
    def after(context: Sequence[int]) -> Any:
        row = speak(b"fine")(context)
        return row * float("nan") if 2 in context else row

    desk.fake.after = after
    desk.fake.gate.clear()
    streams = [desk.ask(prompt, temperature=0.0) for prompt in ("\x01", "\x02\x01", "\x03\x01")]
    desk.fake.gate.set()
    first, second, third = (read(stream) for stream in streams)
    assert "".join(piece.text for piece in first) == "fine"
    assert second[-1].error == "the network's output holds no finite number for this text"
    assert third[-1].finish_reason == "stop"


def test_a_step_without_memory_is_tried_again_and_then_fails_its_texts_alone(desk: Desk) -> None:
    calls: list[str] = []

    def rule(kind: str, ids: list[int]) -> None:
        calls.append(kind)
        if ord("!") in ids:
            raise MemoryError("no room")

    desk.fake.rule = rule
    bad = read(desk.ask("!"))
    assert (bad[-1].finish_reason, "no room" in bad[-1].error) == ("error", True)
    assert calls == ["decode", "decode"]
    assert text_of(desk.ask("ok", max_tokens=3, temperature=0.0, ignore_eos=True))
    until(lambda: desk.engine.stats().failed == 1)


def test_a_memory_fault_that_passes_costs_nothing(desk: Desk) -> None:
    faults = [MemoryError("once"), None]
    desk.fake.rule = lambda kind, ids: _raise(faults.pop(0) if faults else None)
    text = text_of(desk.ask("abc", max_tokens=5, temperature=0.0, ignore_eos=True))
    assert text == shown(greedy(b"abc", 5, whole))


def _raise(error: Exception | None) -> None:
    if error is not None:
        raise error


def test_a_stopped_lane_fails_what_runs_and_what_waits() -> None:
    desk = Desk(FakeNetwork(slots=1))
    desk.fake.rule = lambda kind, ids: time.sleep(0.002)
    streams = [desk.ask(max_tokens=100_000, ignore_eos=True) for _ in range(3)]
    assert streams[0].poll(WAIT_S)
    desk.lane.stop()
    for stream in streams:
        last = read(stream)[-1]
        assert (last.finish_reason, "the lane is stopped" in last.error) == ("error", True)
    assert read(desk.ask())[-1].finish_reason == "error"
    desk.close()


def test_a_step_that_is_cancelled_fails_the_texts() -> None:
    futures: list[Future[Any]] = []

    def submit(step: Any) -> Future[Any]:
        futures.append(Future())
        return futures[-1]

    engine = TextEngine(TextModel("fake", FakeNetwork(), ByteTokenizer(), 0.0), submit)
    engine.start()
    stream = engine.generate(TextRequest((1,)))
    futures[0].cancel()
    assert "the step was cancelled" in read(stream)[-1].error


def test_stopping_lets_texts_finish_and_cancels_those_that_do_not(desk: Desk) -> None:
    short = desk.ask(max_tokens=3, ignore_eos=True)
    desk.engine.stop(WAIT_S)
    assert read(short)[-1].finish_reason == "length"
    with pytest.raises(EngineStoppedError, match="'fake' takes no requests"):
        desk.ask()
    desk.engine.start()
    desk.fake.gate.clear()
    streams = [desk.ask(max_tokens=100_000, ignore_eos=True) for _ in range(6)]
    desk.engine.stop(0.05)
    assert [read(stream)[-1].finish_reason for stream in streams] == ["cancelled"] * 6
    desk.fake.gate.set()
    until(lambda: desk.lane.stats()["text"].waiting == 0)
    stats = desk.engine.stats()
    assert (stats.active, stats.waiting, stats.cancelled) == (0, 0, 6)


def test_an_engine_takes_nothing_before_its_start() -> None:
    engine = TextEngine(
        TextModel("fake", FakeNetwork(), ByteTokenizer(), 0.0), lambda step: Future()
    )
    with pytest.raises(EngineStoppedError):
        engine.generate(TextRequest((1,)))


def test_a_lane_that_refuses_is_an_error_of_the_stream() -> None:
    def submit(step: Any) -> Future[Any]:
        raise LaneError("no engine")

    engine = TextEngine(TextModel("fake", FakeNetwork(), ByteTokenizer(), 0.0), submit)
    engine.start()
    stream = engine.generate(TextRequest((1,)))
    assert list(stream) == [
        TextPiece("", 0, Finish.ERROR, (), "the text could not be made: LaneError: no engine")
    ]
