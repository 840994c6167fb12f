"""The model that ships: the server's network and tokenizer do what the training made of it."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.catalog import ENTRIES
from models.text import story
from models.text.base import Precision, TextModel
from models.text.checkpoints import load_checkpoint
from scripts import train_story
from scripts.story import corpus
from scripts.story.bpe import Bpe
from scripts.story.grammar import grammar
from scripts.story.net import StoryNet
from scripts.story.sample import carried_over

PROMPT = "Once upon a time there was a small camel named Martha who"


@pytest.fixture(scope="module")
def model() -> TextModel:
    return load_checkpoint(story.FOLDER, 8, Precision.FP32, "cpu", name=story.NAME)


@pytest.fixture(scope="module")
def trained() -> tuple[StoryNet, Bpe]:
    return train_story.restored(story.FOLDER)


def greedy(model: TextModel, prompt: str, most: int) -> str:
    ids = [model.tokenizer.eos_id or 0, *model.tokenizer.encode(prompt)]
    logits = model.network.prefill(0, ids, 0)
    for _ in range(most):
        chosen = int(logits.argmax())
        if chosen == model.tokenizer.eos_id:
            break
        ids.append(chosen)
        logits = model.network.decode([0], [chosen], [len(ids) - 1])[0]
    return b"".join(model.tokenizer.token_bytes(i) for i in ids[1:]).decode(errors="replace")


def test_it_is_small_and_says_where_a_text_ends(model: TextModel) -> None:
    assert model.name == "story"
    assert model.network.config.block_size == 256
    assert model.tokenizer.eos_id == model.tokenizer.size - 1 == 2047
    assert sum(file.stat().st_size for file in story.FOLDER.iterdir()) < 8_000_000


def test_a_damaged_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert story.problem() == ""
    (entry,) = (entry for entry in ENTRIES if entry.name == story.NAME)
    short = replace(entry.files[0], size_bytes=1)
    monkeypatch.setattr(story, "ENTRIES", (replace(entry, files=(short,)),))
    assert re.match(r"config\.json in .* has \d+ bytes, should have 1: it ships", story.problem())


def test_the_tokenizer_gives_the_ids_of_the_training(
    model: TextModel, trained: tuple[StoryNet, Bpe]
) -> None:
    for text in corpus.stories(5, 50):
        assert model.tokenizer.encode(text) == trained[1].encode(text)


@given(text=st.text())
def test_any_text_round_trips(model: TextModel, text: str) -> None:
    tokenizer = model.tokenizer
    assert b"".join(map(tokenizer.token_bytes, tokenizer.encode(text))).decode() == text


def test_logits_are_those_of_the_trained_network(
    model: TextModel, trained: tuple[StoryNet, Bpe]
) -> None:
    net, bpe = trained
    ids = [bpe.end_id, *bpe.encode(PROMPT)]
    with torch.inference_mode():
        wanted = net(torch.tensor([ids]))[0]
    got = model.network.prefill(0, ids, 0, every=True)
    torch.testing.assert_close(torch.as_tensor(got), wanted, rtol=1e-4, atol=1e-3)


def test_held_out_stories_are_easy_to_foresee(model: TextModel) -> None:
    total, count = 0.0, 0
    for text in corpus.stories(train_story.HELD_OUT_SEED, 10):
        ids = [2047, *model.tokenizer.encode(text)][:256]
        logits = torch.as_tensor(model.network.prefill(0, ids[:-1], 0, every=True))
        losses = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
        total, count = total + float(losses.sum()), count + len(ids) - 1
    assert math.exp(total / count) < 1.5


def test_a_story_ends_and_keeps_to_its_hero(model: TextModel) -> None:
    text = greedy(model, PROMPT, 220)
    assert text.startswith(PROMPT)
    assert text.endswith((".", "!", '"', "?"))
    names = grammar().words["girl"] + grammar().words["boy"]
    said = [word for word in re.findall(r"[A-Z][a-z]+", text) if word in names]
    assert said.count("Martha") >= 4
    assert len(set(said)) <= 2  # the hero and a friend


def test_names_and_colours_are_carried_over(trained: tuple[StoryNet, Bpe]) -> None:
    for kind, (good, mentions) in carried_over(*trained, 150, train_story.HELD_OUT_SEED).items():
        assert mentions > 30, kind
        assert good > 0.75 * mentions, kind


def test_a_finished_story_is_likely_to_end(model: TextModel) -> None:
    shares = []
    for text in corpus.stories(train_story.HELD_OUT_SEED, 20):
        ids = [2047, *model.tokenizer.encode(text)]
        if len(ids) <= 256:
            logits = torch.as_tensor(model.network.prefill(0, ids, 0))
            shares.append(float(torch.softmax(logits, 0)[2047]))
    assert sorted(shares)[len(shares) // 2] > 0.9


def test_a_continuation_is_made_of_the_words_of_the_stories(model: TextModel) -> None:
    words = set(re.findall(r"[a-z]+", " ".join(corpus.stories(3, 3000)).lower()))
    text = greedy(model, PROMPT, 50).removeprefix(PROMPT)
    said = re.findall(r"[a-z]+", text.lower())[:-1]
    assert len(said) > 20
    assert sum(word in words for word in said) > 0.9 * len(said)
