"""The engine over nanoGPT's checkpoint against the tokens that nanoGPT made (../shared/golden)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from models.lane import Lane
from models.text.base import Precision
from models.text.checkpoints import load_checkpoint
from models.text.engine import StepEngine, TextEngine
from models.text.request import TextRequest, TextStream
from tests.unit.models.text.goldens import RANKS, numbers, weights, write_nanogpt
from tests.unit.models.text.textfakes import read, text_of


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TextEngine]:
    path: Path = tmp_path_factory.mktemp("nanogpt") / "ckpt.pt"
    write_nanogpt(path, weights("nanogpt_small", 5))
    model = load_checkpoint(path, 4, Precision.FP32, tokenizer_path=RANKS)
    lane = Lane([StepEngine("text", model.network)])
    lane.start()
    engine = TextEngine(model, lambda step: lane.submit("text", step))
    engine.start()
    yield engine
    engine.stop(1)
    lane.stop()


def ask(engine: TextEngine, prompt: Any, **fields: Any) -> TextStream:
    return engine.generate(TextRequest(tuple(prompt.tolist()), ignore_eos=True, **fields))


def ids_of(stream: TextStream) -> list[int]:
    return [entry.token_id for piece in read(stream) for entry in piece.logprobs]


def test_greedy_texts_of_nanogpt_come_out_side_by_side(engine: TextEngine) -> None:
    """`greedy_long` passes block_size; an exact window gives the tokens that nanoGPT gives."""
    stored = numbers("nanogpt")
    fields: dict[str, Any] = {"temperature": 0.0, "max_tokens": 32, "logprobs": 0}
    short = [ask(engine, stored["prompt"], **fields) for _ in range(3)]
    long = ask(engine, stored["long_prompt"], exact_window=True, **fields)
    assert ids_of(long) == stored["greedy_long"].tolist()
    assert [ids_of(stream) for stream in short] == [stored["greedy"].tolist()] * 3


def test_a_text_goes_on_past_the_block_and_agrees_up_to_it(engine: TextEngine) -> None:
    stored = numbers("nanogpt")
    fields: dict[str, Any] = {"temperature": 0.0, "max_tokens": 200, "logprobs": 0}
    ids = ids_of(ask(engine, stored["long_prompt"], **fields))
    inside = 128 - len(stored["long_prompt"]) + 1
    assert len(ids) == 200
    assert ids[:inside] == stored["greedy_long"].tolist()[:inside]


def test_a_seed_gives_the_same_text_alone_and_among_others(engine: TextEngine) -> None:
    stored = numbers("nanogpt")
    fields: dict[str, Any] = {"temperature": 0.8, "top_k": 200, "max_tokens": 40}
    alone = text_of(ask(engine, stored["prompt"], seed=1337, **fields))
    others = [ask(engine, stored["long_prompt"], seed=seed, **fields) for seed in range(3)]
    among = text_of(ask(engine, stored["prompt"], seed=1337, **fields))
    assert among == alone
    assert len({text_of(stream) for stream in others}) == 3
