"""The network learns, and the file says what the network says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from models.audio import logmel
from models.audio.viseme import LEFT_FRAMES, RIGHT_FRAMES
from runtime.sessions import open_session
from scripts.viseme_training import export, net
from scripts.viseme_training.corpus import Scene


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """More threads than cores only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def scenes(count: int = 6, frames: int = 500) -> list[Scene]:
    """Channels whose last one is, smoothed, what the mouth should do."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        wave = np.convolve(rng.standard_normal(frames + 30), np.hanning(31) / 8, "valid")
        level = np.clip(wave, -1, 1).astype(np.float32)
        seen = rng.standard_normal((frames, logmel.CHANNELS)).astype(np.float32)
        seen[:, -1] = level * 3
        shapes = np.repeat(np.clip(level, 0, 1)[:, None], 5, axis=1)
        mouths = (level > 0).astype(np.int64)
        made.append(Scene(seen, shapes, mouths.astype(np.float32), mouths))
    return made


def test_training_learns_what_can_be_seen() -> None:
    said: list[str] = []
    fitted = net.train(scenes(), net.Fit(epochs=25, batch=4, seed=1), said.append)
    assert len(said) == 25
    table = net.scores(net.Choir([fitted]), scenes())
    assert table["opening"] > 0.5
    assert table["mean_error"] < 0.2


def test_training_twice_gives_the_same_weights() -> None:
    fit = net.Fit(epochs=2, batch=2, seed=5)
    one, two = (net.train(scenes(2), fit, lambda line: None) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_the_exported_file_computes_the_same(tmp_path: Path) -> None:
    torch.manual_seed(2)
    nets = [net.VisemeNet() for _ in range(2)]
    for one in nets:
        one.mean.normal_()
        one.scale.uniform_(0.5, 2)
    made = net.Choir(nets).eval()
    path = tmp_path / "new" / "viseme.onnx"
    export.save(made, path)
    seen = torch.randn(1, logmel.CHANNELS, 150)
    with torch.no_grad():
        wanted = made(seen).numpy()
    got = open_session(path, "cpu").run(None, {"channels": seen.numpy()})[0]
    assert got.shape == (1, 6, 150 - LEFT_FRAMES - RIGHT_FRAMES)
    assert np.abs(got - wanted).max() < 1e-5


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    made = net.Choir([net.VisemeNet()])
    for name in ("a", "b"):
        export.save(made, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_mouth_rests_where_nobody_is_heard() -> None:
    one = net.VisemeNet()
    made = net.Choir([one]).eval()
    with torch.no_grad():
        one.out.weight.zero_()
        bias = torch.ones(net.OUTPUTS)
        one.out.bias = torch.nn.Parameter(bias)
        seen = torch.randn(1, logmel.CHANNELS, 100)
        assert made(seen).min() > 0.5
        bias[5] = -4.0
        assert made(seen)[:, :5].max() == 0


def test_crops_are_heard_as_from_other_throats() -> None:
    seen = torch.randn(4, logmel.CHANNELS, 20)
    blank = torch.full((1, logmel.CHANNELS, 1), 7.0)
    got = net.varied(seen, blank, np.random.default_rng(1))
    assert got.shape == seen.shape
    assert torch.equal(got[:, logmel.BANDS :], seen[:, logmel.BANDS :])
    assert not torch.allclose(got[:, : logmel.BANDS], seen[:, : logmel.BANDS], atol=0.1)
    masked = (got == 7.0).all(dim=2).sum(dim=1)
    assert 0 < int(masked.max()) <= net.MASKED_BANDS


def test_the_model_is_the_mean_of_its_networks_with_surer_closures() -> None:
    nets = [net.VisemeNet() for _ in range(2)]
    with torch.no_grad():
        for one, bias in zip(nets, (0.0, 2.0), strict=True):
            one.out.weight.zero_()
            one.out.bias = torch.nn.Parameter(torch.full((net.OUTPUTS,), bias))
        got = net.Choir(nets).eval()(torch.randn(1, logmel.CHANNELS, 100))[0, :, 5]
    mean = (0.5 + float(torch.sigmoid(torch.tensor(2.0)))) / 2
    assert got[0].item() == pytest.approx((mean - 0.02) / 0.96, abs=1e-5)
    assert got[net.CLOSURE].item() == 1


def test_a_missed_closure_costs_more_than_one_too_many() -> None:
    none, full = torch.zeros(1, net.OUTPUTS, 50), torch.zeros(1, net.OUTPUTS, 50)
    full[:, net.CLOSURE] = 1
    assert net.loss(none, full) > net.loss(full, none)


def test_a_row_that_never_moves_scores_nothing() -> None:
    model = net.Choir([net.VisemeNet()])
    still = [Scene(s.channels, s.shapes * 0, s.voice, s.mouths) for s in scenes(1)]
    assert net.scores(model, still)["opening"] == 0
