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
        made.append(Scene(seen, shapes))
    return made


def test_training_learns_what_can_be_seen() -> None:
    said: list[str] = []
    fitted = net.train(scenes(), net.Fit(epochs=25, batch=4, seed=1), said.append)
    assert len(said) == 25
    table = net.scores(fitted, scenes())
    assert table["opening"] > 0.5
    assert table["mean_error"] < 0.2


def test_training_twice_gives_the_same_weights() -> None:
    fit = net.Fit(epochs=2, batch=2, seed=5)
    one, two = (net.train(scenes(2), fit, lambda line: None) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_the_exported_file_computes_the_same(tmp_path: Path) -> None:
    torch.manual_seed(2)
    made = net.VisemeNet()
    made.mean.normal_()
    made.scale.uniform_(0.5, 2)
    path = tmp_path / "new" / "viseme.onnx"
    export.save(made, path)
    seen = torch.randn(1, logmel.CHANNELS, 150)
    with torch.no_grad():
        wanted = made(seen).numpy()
    got = open_session(path, "cpu").run(None, {"channels": seen.numpy()})[0]
    assert got.shape == (1, 5, 150 - LEFT_FRAMES - RIGHT_FRAMES)
    assert np.abs(got - wanted).max() < 1e-5


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    made = net.VisemeNet()
    for name in ("a", "b"):
        export.save(made, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
