"""The network learns, in seconds on a tiny shape, and its files hold what it learnt."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from scripts.story import export, net
from scripts.story.bpe import Bpe, learn
from scripts.story.corpus import stories, stream
from scripts.story.sample import _foreseen

SHAPE = net.Shape(vocab_size=400, block_size=32, n_layer=1, n_head=2, n_embd=32)
FIT = net.Fit(steps=60, rows=4, peak_rate=5e-3, warmup_steps=5, half=False)
TEXTS = list(stories(1, 60))
BPE = Bpe(learn(TEXTS, 400))


@pytest.fixture(scope="module")
def fitted() -> tuple[net.StoryNet, list[float]]:
    return net.train(*stream(BPE, TEXTS), SHAPE, FIT, lambda line: None)


def test_a_short_training_lowers_the_loss_also_on_stories_kept_aside(
    fitted: tuple[net.StoryNet, list[float]],
) -> None:
    trained, losses = fitted
    assert losses[0] == pytest.approx(math.log(400), abs=0.3)
    assert sum(losses[-10:]) / 10 < losses[0] - 1
    held_out = [[BPE.end_id, *BPE.encode(text)] for text in stories(2, 5)]
    assert net.held_out_loss(trained, held_out) < losses[0] - 1


def test_a_seed_gives_the_same_losses_again(fitted: tuple[net.StoryNet, list[float]]) -> None:
    short = net.Fit(steps=3, rows=2, warmup_steps=5, half=False)
    runs = [net.train(*stream(BPE, TEXTS), SHAPE, short, lambda line: None)[1] for _ in range(2)]
    assert runs[0] == runs[1]


def test_a_position_sees_only_what_came_before(
    fitted: tuple[net.StoryNet, list[float]],
) -> None:
    ids = torch.randint(0, 400, (1, 10), generator=torch.Generator().manual_seed(1))
    other = ids.clone()
    other[0, 7] = (other[0, 7] + 1) % 400
    with torch.inference_mode():
        before, after = fitted[0](ids), fitted[0](other)
    torch.testing.assert_close(before[0, :7], after[0, :7])
    assert not torch.allclose(before[0, 7:], after[0, 7:])


def test_the_clock_ends_a_training_that_takes_too_long() -> None:
    said: list[str] = []
    fit = net.Fit(steps=1000, rows=2, limit_s=0.05, half=False)
    _, losses = net.train(*stream(BPE, TEXTS), SHAPE, fit, said.append)
    assert len(losses) < 1000
    assert "stopped by the clock" in said[-1]


def test_the_learning_rate_warms_up_and_falls_to_a_twentieth() -> None:
    rates = [net.rate_at(step / 1000, step, net.Fit(steps=1000)) for step in range(1001)]
    assert rates[0] == pytest.approx(2e-5, rel=0.01)
    assert max(rates) == pytest.approx(2e-3, rel=0.05)
    assert rates[-1] == pytest.approx(1e-4)


def test_half_of_the_rows_begin_where_a_story_begins() -> None:
    ids, starts = stream(BPE, TEXTS)
    rows = net.batches(ids, starts, SHAPE, net.Fit(rows=64))
    share = np.mean([float((next(rows)[:, 0] == BPE.end_id).float().mean()) for _ in range(20)])
    assert 0.4 < share < 0.6


def test_saved_weights_come_back_within_half_precision(
    fitted: tuple[net.StoryNet, list[float]], tmp_path: Path
) -> None:
    export.save(fitted[0], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert (config["model_type"], config["n_positions"], config["vocab_size"]) == ("gpt2", 32, 400)
    found = load_file(tmp_path / "model.safetensors")
    assert found["transformer.h.0.attn.c_attn.weight"].shape == (32, 96)
    assert "lm_head.weight" not in found
    again = net.StoryNet(SHAPE)
    export.restore(again, found)
    for mine, theirs in zip(fitted[0].parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


def test_later_mentions_count_as_foreseen_when_each_id_is_the_likeliest() -> None:
    ids = [9, 1, 2, 5, 1, 2, 6, 1, 2, 7]
    likeliest = [0, 0, 0, 1, 2, 0, 1, 0, 0, 0]
    assert _foreseen(ids, likeliest, [1, 2]) == (1, 2)
