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
from scripts.story.drills import Drills
from scripts.story.sample import _foreseen

SHAPE = net.Shape(vocab_size=400, block_size=32, n_layer=1, n_head=2, n_embd=32)
FIT = net.Fit(steps=60, ids=128, peak_rate=5e-3, warmup_steps=5, half=False)
TEXTS = list(stories(1, 60))
BPE = Bpe(learn(TEXTS, 400))
IDS, STARTS = stream(BPE, TEXTS)


def taught() -> net.Corpus:
    return net.Corpus(IDS, STARTS, Drills(BPE, 3, stories=30).row)


@pytest.fixture(scope="module")
def fitted() -> tuple[net.StoryNet, list[float]]:
    return net.train(taught(), SHAPE, FIT, lambda line: None)


def test_a_short_training_lowers_the_loss_also_on_stories_kept_aside(
    fitted: tuple[net.StoryNet, list[float]],
) -> None:
    trained, losses = fitted
    assert losses[0] == pytest.approx(math.log(400), abs=0.3)
    assert sum(losses[-10:]) / 10 < losses[0] - 1
    held_out = [[BPE.end_id, *BPE.encode(text)] for text in stories(2, 5)]
    assert net.held_out_loss(trained, held_out) < losses[0] - 1


def test_a_seed_gives_the_same_losses_again(fitted: tuple[net.StoryNet, list[float]]) -> None:
    short = net.Fit(steps=3, ids=64, warmup_steps=5, half=False)
    runs = [net.train(taught(), SHAPE, short, lambda line: None)[1] for _ in range(2)]
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
    fit = net.Fit(steps=1000, ids=64, limit_s=0.05, half=False)
    _, losses = net.train(taught(), SHAPE, fit, said.append)
    assert len(losses) < 1000
    assert "stopped by the clock" in said[-1]


def test_the_learning_rate_warms_up_and_falls_to_a_twentieth() -> None:
    rates = [net.rate_at(step / 1000, step, net.Fit(steps=1000)) for step in range(1001)]
    assert rates[0] == pytest.approx(2e-5, rel=0.01)
    assert max(rates) == pytest.approx(2e-3, rel=0.05)
    assert rates[-1] == pytest.approx(1e-4)


def test_rows_are_drills_at_first_then_stories_half_of_them_from_their_beginning() -> None:
    drill = np.full(33, 7)
    fit = net.Fit(ids=2048, lengths=(32,), until=(1.0,), drilled=0.1, mixed=0.4, mixed_until=0.6)
    batches = net.Batches(net.Corpus(IDS, STARTS, lambda length: drill[:length]), SHAPE, fit)

    def shares(done: float) -> tuple[float, float]:
        """The shares of drills and of story beginnings."""
        rows = torch.cat([batches.take(done)[0] for _ in range(20)])
        drills = (rows == 7).all(1)
        return float(drills.float().mean()), float(
            (rows[~drills][:, 0] == BPE.end_id).float().mean()
        )

    assert shares(0.05)[0] == 1.0
    assert shares(0.3)[0] == pytest.approx(0.2, abs=0.05)
    drills, beginnings = shares(0.8)
    assert drills == 0.0
    assert 0.4 < beginnings < 0.6


def test_rows_grow_with_the_training_and_short_ones_stand_anywhere_in_the_block() -> None:
    fit = net.Fit(ids=64, lengths=(8, 32), until=(0.5, 1.0))
    batches = net.Batches(taught(), SHAPE, fit)
    short = [batches.take(0.2) for _ in range(40)]
    assert {tuple(rows.shape) for rows, _ in short} == {(8, 9)}
    assert max(first for _, first in short) > 16
    assert all(first + 8 <= SHAPE.block_size for _, first in short)
    rows, first = batches.take(1.0)
    assert rows.shape == (2, 33)
    assert first == 0


def test_a_later_position_uses_its_own_embedding() -> None:
    fresh = net.StoryNet(SHAPE)
    ids = torch.tensor([[5, 6, 7]])
    with torch.inference_mode():
        assert not torch.allclose(fresh(ids), fresh(ids, 4))


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
