"""The engine over a fake network and a real lane."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from models.lane import PATIENCE_S, Lane
from models.text.base import TextModel
from models.text.engine import EventKind, StepEngine, TextEngine
from models.text.request import (
    Finish,
    QueueFullError,
    TextRequest,
    TextStream,
)
from tests.unit.models.text.textfakes import (
    BLOCK,
    EOS,
    VOCAB,
    WAIT_S,
    ByteTokenizer,
    Desk,
    FakeNetwork,
    greedy,
    logits_after,
    read,
    shown,
    speak,
    text_of,
    until,
    whole,
)

SAY = "\x01"


def test_greedy_text_is_that_of_the_plain_loop(desk: Desk) -> None:
    pieces = read(desk.ask("abc", max_tokens=10, temperature=0.0, ignore_eos=True))
    assert "".join(piece.text for piece in pieces) == shown(greedy(b"abc", 10, whole))
    assert pieces[-1].tokens == 10
    assert pieces[-1].finish_reason == "length"
    assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)


def test_requests_join_and_leave_between_steps_and_do_not_touch_each_other(desk: Desk) -> None:
    desk.fake.rule = lambda kind, ids: time.sleep(0.003)
    prompts = [bytes([97 + i] * (1 + i % 5)) for i in range(9)]
    streams: list[TextStream] = []
    for i, prompt in enumerate(prompts):
        fields = {"temperature": 0.0, "ignore_eos": True, "max_tokens": 2 + i}
        streams.append(desk.ask(prompt.decode(), **fields))
        time.sleep(0.002)
    for i, (prompt, stream) in enumerate(zip(prompts, streams, strict=True)):
        assert text_of(stream) == shown(greedy(prompt, 2 + i, whole))
    assert max(map(len, desk.fake.batches)) > 1
    until(lambda: desk.engine.stats().finished == 9)


@pytest.mark.parametrize("fields", [{"top_k": 20}, {"top_p": 0.9}, {"temperature": 1.5}])
def test_a_seed_gives_the_same_text_alone_and_among_others(
    desk: Desk, fields: dict[str, Any]
) -> None:
    alone = text_of(desk.ask("seed", seed=5, max_tokens=9, **fields))
    others = [desk.ask("other", seed=i, max_tokens=30) for i in range(3)]
    assert text_of(desk.ask("seed", seed=5, max_tokens=9, **fields)) == alone
    assert text_of(desk.ask("seed", seed=6, max_tokens=9, **fields)) != alone
    for stream in others:
        read(stream)


def test_a_full_block_slides_by_half(desk: Desk) -> None:
    seen: list[int] = []

    def window(tokens: list[int]) -> list[int]:
        nonlocal seen
        seen = [*seen, tokens[-1]] if seen else list(tokens)
        if len(seen) > BLOCK:
            seen = seen[-BLOCK // 2 :]
        return seen

    text = text_of(desk.ask("abcdef", max_tokens=50, temperature=0.0, ignore_eos=True))
    assert text == shown(greedy(b"abcdef", 50, window))


@pytest.mark.parametrize("prompt", ["abcdef", "a long prompt, longer than the block"])
def test_an_exact_window_is_the_last_block_of_tokens_at_every_token(
    desk: Desk, prompt: str
) -> None:
    fields = {"temperature": 0.0, "ignore_eos": True, "exact_window": True}
    text = text_of(desk.ask(prompt, max_tokens=40, **fields))
    assert text == shown(greedy(prompt.encode(), 40, lambda tokens: tokens[-BLOCK:]))


def test_a_long_prompt_is_prefilled_in_chunks_while_others_go_on() -> None:
    network = FakeNetwork(block=4096)
    desk = Desk(network)
    network.rule = lambda kind, ids: time.sleep(0.002 * len(ids) if kind == "prefill" else 0.001)
    running = desk.ask("ab", max_tokens=200, temperature=0.0, ignore_eos=True)
    assert running.poll(WAIT_S)
    long = desk.ask("x" * 700, max_tokens=5, temperature=0.0, ignore_eos=True)
    assert text_of(long) == shown(greedy(b"x" * 700, 5, whole))
    sizes = [count for slot, _, count in network.prefills if slot == 1]
    assert sum(sizes) == 700
    assert max(sizes) <= 64
    desk.close()


def test_prompts_that_wait_together_are_read_together(desk: Desk) -> None:
    first = desk.ask("start", max_tokens=1, temperature=0.0, ignore_eos=True)
    read(first)
    desk.fake.gate.clear()
    prompts = ["one", "second", "the third", "4th"]
    streams = [desk.ask(p, max_tokens=6, temperature=0.0, ignore_eos=True) for p in prompts[:1]]
    until(lambda: desk.engine.stats().active == 1)
    streams += [desk.ask(p, max_tokens=6, temperature=0.0, ignore_eos=True) for p in prompts[1:]]
    desk.fake.gate.set()
    for prompt, stream in zip(prompts, streams, strict=True):
        assert text_of(stream) == shown(greedy(prompt.encode(), 6, whole))
    assert desk.fake.packs == [5, 3, len("second") + len("the third") + len("4th")]
    assert desk.engine.stats().prefill_tokens == sum(desk.fake.packs)


def test_a_short_prompt_need_not_wait_for_a_slot_when_one_is_free(desk: Desk) -> None:
    desk.fake.gate.clear()
    streams = [desk.ask("ab", max_tokens=3, ignore_eos=True) for _ in range(4)]
    until(lambda: desk.engine.stats().active >= 1)
    desk.fake.gate.set()
    for stream in streams:
        assert read(stream)[-1].finish_reason == "length"
    assert {slot for slot, _, _ in desk.fake.prefills} == {0, 1, 2, 3}


def test_who_comes_when_the_queue_is_full_is_told_how_many_wait() -> None:
    desk = Desk(FakeNetwork(slots=1), max_queue=2)
    desk.fake.gate.clear()
    streams = [desk.ask(max_tokens=2) for _ in range(3)]
    with pytest.raises(QueueFullError, match="2 requests wait already; at most 2 may") as caught:
        desk.ask()
    assert (caught.value.waiting, caught.value.limit) == (2, 2)
    desk.fake.gate.set()
    assert [read(stream)[-1].finish_reason for stream in streams] == ["length"] * 3
    text_of(desk.ask(max_tokens=1))
    desk.close()


def test_waiting_requests_are_served_in_their_order() -> None:
    desk = Desk(FakeNetwork(slots=1))
    desk.fake.gate.clear()
    streams = [desk.ask(letter * 3, max_tokens=1) for letter in "abcde"]
    first: list[int] = []
    desk.fake.rule = lambda kind, ids: first.append(ids[0])
    desk.fake.gate.set()
    for stream in streams:
        read(stream)
    assert bytes(first).decode() == "abcde"
    desk.close()


def test_a_cancelled_request_frees_its_slot_at_the_next_step() -> None:
    desk = Desk(FakeNetwork(slots=1))
    desk.fake.rule = lambda kind, ids: time.sleep(0.002)
    first = desk.ask(max_tokens=100_000, ignore_eos=True)
    second = desk.ask("second", max_tokens=2, ignore_eos=True)
    third = desk.ask("third", max_tokens=2, ignore_eos=True)
    assert first.poll(WAIT_S)
    third.cancel()
    assert read(third)[-1].finish_reason == "cancelled"
    with first:
        pass
    assert read(first)[-1].finish_reason == "cancelled"
    assert read(second)[-1].finish_reason == "length"
    first.cancel()
    assert first.poll() is None
    until(lambda: desk.engine.stats().cancelled == 2)
    desk.close()


def test_an_end_of_text_token_ends_the_text_and_is_not_shown(desk: Desk) -> None:
    desk.fake.after = speak(b"hello")
    pieces = read(desk.ask(SAY, temperature=0.0))
    assert "".join(piece.text for piece in pieces) == "hello"
    assert (pieces[-1].finish_reason, pieces[-1].tokens) == ("stop", 6)


def test_stop_ids_end_the_text_and_the_end_of_text_can_be_ignored(desk: Desk) -> None:
    desk.fake.after = speak(b"hello")
    fields: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True, "max_tokens": 7}
    assert text_of(desk.ask(SAY, **fields)) == "hello<|end|><|end|>"
    assert text_of(desk.ask(SAY, stop_ids=frozenset({ord("o")}), **fields)) == "hell"


def test_a_stop_string_over_several_tokens_is_cut_off_and_never_shown(desk: Desk) -> None:
    desk.fake.after = speak(b"one two. END more")
    pieces = read(desk.ask(SAY, temperature=0.0, stop=("END", "never")))
    assert "".join(piece.text for piece in pieces) == "one two. "
    assert (pieces[-1].finish_reason, pieces[-1].tokens) == ("stop", 12)


def test_what_only_looked_like_a_stop_string_is_shown_at_the_end(desk: Desk) -> None:
    desk.fake.after = speak(b"all EN")
    assert text_of(desk.ask(SAY, temperature=0.0, stop=("END",))) == "all EN"
    assert text_of(desk.ask(SAY, temperature=0.0, stop=("END",), max_tokens=5)) == "all E"


def test_characters_of_several_tokens_are_shown_whole(desk: Desk) -> None:
    desk.fake.after = speak("a€b".encode())
    assert [piece.text for piece in read(desk.ask(SAY, temperature=0.0))] == ["a", "€", "b", ""]
    assert text_of(desk.ask(SAY, temperature=0.0, max_tokens=3)) == "a\ufffd"


def test_a_character_begun_in_the_prompt_is_finished_in_the_text(desk: Desk) -> None:
    request = TextRequest((1, 0xE2), temperature=0.0)
    desk.fake.after = speak(b"?\x82\xac!")
    assert text_of(desk.engine.generate(request)) == "€!"


def test_a_text_can_come_in_one_piece(desk: Desk) -> None:
    desk.fake.after = speak(b"one two")
    (piece,) = read(desk.ask(SAY, temperature=0.0, stream=False, logprobs=0))
    assert (piece.text, piece.tokens, len(piece.logprobs)) == ("one two", 8, 7)


def test_an_echoed_text_begins_with_the_prompt(desk: Desk) -> None:
    desk.fake.after = speak(b" there")
    assert text_of(desk.ask("hi" + SAY, temperature=0.0, echo=True)) == "hi\x01 there"
    assert text_of(desk.ask("hé", echo=True, max_tokens=0)) == "hé"


def test_logprobs_come_with_the_text_of_their_tokens(desk: Desk) -> None:
    desk.fake.after = speak("a€.END".encode())
    pieces = read(desk.ask(SAY, temperature=0.0, logprobs=2, stop=("END",)))
    by_piece = [(piece.text, [entry.text for entry in piece.logprobs]) for piece in pieces]
    euro = ["bytes:\\xe2", "bytes:\\x82", "bytes:\\xac"]
    assert by_piece == [("a", ["a"]), ("€", euro), (".", ["."]), ("", [])]
    entries = [entry for piece in pieces for entry in piece.logprobs]
    assert [entry.offset for entry in entries] == [0, 1, 1, 1, 2]
    truth = torch.log_softmax(torch.tensor([9.0] + [0.0] * (VOCAB - 1)), 0)
    for entry in entries:
        assert entry.logprob == pytest.approx(float(truth[0]), abs=1e-5)
        assert entry.top[0] == (entry.text, entry.logprob)
        assert len(entry.top) == 2


def test_a_token_that_is_not_among_the_likeliest_is_listed_too(desk: Desk) -> None:
    desk.fake.after = speak(b"x")
    bias = {ord("x"): -100.0, ord("y"): 3.0, ord("z"): 3.0}
    request = {"logprobs": 1, "max_tokens": 1, "seed": 1, "logit_bias": bias, "top_k": 2}
    found = set()
    for seed in range(10):
        (entry,) = read(desk.ask(SAY, **{**request, "seed": seed}))[-1].logprobs
        found.add((entry.text, tuple(text for text, _ in entry.top)))
    assert found == {("y", ("y",)), ("z", ("y", "z"))}


@pytest.mark.parametrize("most", [0, 3])
def test_an_echoed_prompt_is_scored(desk: Desk, most: int) -> None:
    prompt = b"score"
    fields: dict[str, Any] = {"echo": True, "logprobs": 1, "max_tokens": most, "temperature": 0.0}
    pieces = read(desk.ask(prompt.decode(), ignore_eos=True, **fields))
    entries = [entry for piece in pieces for entry in piece.logprobs]
    tokens = [*prompt, *greedy(prompt, most, whole)]
    assert [entry.token_id for entry in entries] == tokens
    assert (entries[0].logprob, entries[0].top) == (None, ())
    for place, entry in enumerate(entries[1:], 1):
        truth = torch.log_softmax(torch.from_numpy(logits_after(tokens[:place])), 0)
        assert entry.logprob == pytest.approx(float(truth[tokens[place]]), abs=1e-4)
    assert (pieces[-1].finish_reason, pieces[-1].tokens) == ("length", most)


def test_a_scored_prompt_longer_than_the_block_has_scores_for_what_the_network_sees(
    desk: Desk,
) -> None:
    pieces = read(desk.ask("p" * (BLOCK + 4), echo=True, logprobs=0, max_tokens=0))
    known = [entry.logprob is not None for piece in pieces for entry in piece.logprobs]
    assert known == [False] * 5 + [True] * (BLOCK - 1)


def test_an_empty_prompt_starts_at_the_end_of_text_token(desk: Desk) -> None:
    text = text_of(desk.ask("", max_tokens=4, temperature=0.0, ignore_eos=True, echo=True))
    assert text == shown(greedy([EOS], 4, whole))


def test_figures_and_events_tell_what_was_done(desk: Desk) -> None:
    for stream in [desk.ask("abcd", max_tokens=5, ignore_eos=True) for _ in range(2)]:
        read(stream)
    until(lambda: desk.engine.stats().finished == 2)
    stats = desk.engine.stats()
    assert (stats.requests, stats.tokens, stats.prefill_tokens) == (2, 10, 8)
    assert (stats.first_tokens, stats.active, stats.waiting) == (2, 0, 0)
    assert 0 < stats.first_token_s < WAIT_S
    until(lambda: len([e for e in desk.events if e.kind is EventKind.STEP]) == stats.steps)
    by_kind = {kind: [e for e in desk.events if e.kind is kind] for kind in EventKind}
    assert sum(event.tokens for event in by_kind[EventKind.STEP]) == 10
    assert [event.tokens for event in by_kind[EventKind.FIRST]] == [1, 1]
    assert [event.finish for event in by_kind[EventKind.END]] == [Finish.LENGTH] * 2
    assert {event.model for event in desk.events} == {"fake"}


def test_many_threads_can_ask_and_leave_at_once() -> None:
    desk = Desk(max_queue=1000)
    results: list[bool] = []

    def client(number: int) -> None:
        for turn in range(5):
            name = f"{number}-{turn}"
            stream = desk.ask(name, max_tokens=12, temperature=0.0, ignore_eos=True)
            if (number + turn) % 4 == 0:
                stream.cancel()
                results.append(read(stream)[-1].finish_reason in ("cancelled", "length"))
            else:
                results.append(text_of(stream) == shown(greedy(name.encode(), 12, whole)))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == [True] * 60
    desk.close()


def test_the_next_step_waits_on_the_lane_before_other_work_is_chosen() -> None:
    """Between two tokens comes at most one batch of lesser work per tenth of a second."""

    class Frames:
        name = "frames"
        priority = 20
        max_batch = 1

        def __init__(self) -> None:
            self.ran = 0

        def run(self, items: Sequence[Any]) -> Sequence[Any]:
            self.ran += 1
            time.sleep(0.02)
            return list(items)

    network, frames = FakeNetwork(block=2048), Frames()
    lane = Lane([StepEngine("text", network), frames])  # type: ignore[list-item]
    lane.start()
    model = TextModel("fake", network, ByteTokenizer(), 0.0)
    engine = TextEngine(model, lambda step: lane.submit("text", step))
    engine.start()
    for _ in range(200):
        lane.submit("frames", 1)
    stream = engine.generate(TextRequest((1,), max_tokens=300, ignore_eos=True))
    assert stream.poll(WAIT_S)
    before, began_s = frames.ran, time.monotonic()
    assert read(stream)[-1].tokens == 300
    elapsed_s = time.monotonic() - began_s
    assert frames.ran - before <= elapsed_s / PATIENCE_S + 2
    engine.stop(1)
    lane.stop()
