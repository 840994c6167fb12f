"""The network and its training: a small temporal convolutional net in PyTorch.

What it is: four dilated convolutions over log-mel frames, a head, a fixed smoothing filter, and
the loop that fits them. What it is not: needed to run the model (export.py writes ONNX).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.audio import logmel
from models.audio.viseme import LEFT_FRAMES, RIGHT_FRAMES
from scripts.viseme_training.corpus import Scene

HIDDEN = 96
KERNEL = 5
DILATIONS = (2, 4, 8)
SMOOTH_TAPS = 9
SMOOTH_SIGMA = 2.0
# The outputs below this are taken for rest, so that silence gives zeros, not small numbers.
DEAD_ZONE = 0.02
SHAPE_WEIGHTS = (3.0, 1.0, 1.0, 1.0, 2.0)
VELOCITY_WEIGHT = 20.0
CROP_FRAMES = 300


class VisemeNet(nn.Module):
    """[N, CHANNELS, T] to [N, 5, T - LEFT_FRAMES - RIGHT_FRAMES]."""

    mean: Tensor
    scale: Tensor
    taps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, logmel.CHANNELS, 1))
        self.register_buffer("scale", torch.ones(1, logmel.CHANNELS, 1))
        at = torch.arange(SMOOTH_TAPS) - SMOOTH_TAPS // 2
        taps = torch.exp(-0.5 * (at / SMOOTH_SIGMA) ** 2)
        self.register_buffer("taps", (taps / taps.sum()).repeat(5, 1, 1))
        self.first = nn.Conv1d(logmel.CHANNELS, HIDDEN, KERNEL)
        self.middle = nn.ModuleList(
            nn.Conv1d(HIDDEN, HIDDEN, KERNEL, dilation=dilation) for dilation in DILATIONS
        )
        self.head = nn.Conv1d(HIDDEN, 32, 1)
        self.out = nn.Conv1d(32, 5, 1)
        reach = (KERNEL - 1) * (1 + sum(DILATIONS)) + SMOOTH_TAPS - 1
        if reach != LEFT_FRAMES + RIGHT_FRAMES:
            raise ValueError(f"the net sees {reach} frames, the model says otherwise")

    def forward(self, seen: Tensor) -> Tensor:
        """Shapes in 0..1."""
        return torch.clamp(self.unclamped(seen), 0, 1)

    def unclamped(self, seen: Tensor) -> Tensor:
        """Shapes before the clamp, whose gradient is zero outside 0..1; for the loss."""
        x = functional.relu(self.first((seen - self.mean) * self.scale))
        for conv, dilation in zip(self.middle, DILATIONS, strict=True):
            skip = (KERNEL - 1) * dilation // 2
            x = x[..., skip:-skip] + functional.relu(conv(x))
        x = self.out(functional.relu(self.head(x)))
        x = functional.conv1d(torch.sigmoid(x), self.taps, groups=5)
        return (x - DEAD_ZONE) / (1 - 2 * DEAD_ZONE)


@dataclass(frozen=True)
class Fit:
    """How to train."""

    epochs: int = 24
    batch: int = 16
    rate: float = 2e-3
    seed: int = 7


def loss(got: Tensor, wanted: Tensor) -> Tensor:
    """Squared error of the shapes and of their change from frame to frame."""
    weights = torch.tensor(SHAPE_WEIGHTS)[None, :, None]
    near = ((got - wanted) ** 2 * weights).mean()
    moves = ((got.diff(dim=-1) - wanted.diff(dim=-1)) ** 2 * weights).mean()
    return near + VELOCITY_WEIGHT * moves


def _joined(scenes: Sequence[Scene]) -> tuple[Tensor, Tensor]:
    """All scenes on one time axis: inputs [CHANNELS, T], targets [5, T]."""
    seen = np.concatenate([scene.channels for scene in scenes]).T
    wanted = np.concatenate([scene.shapes for scene in scenes]).T
    return torch.from_numpy(seen.copy()), torch.from_numpy(wanted.copy())


def _batch(seen: Tensor, wanted: Tensor, starts: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    around = LEFT_FRAMES + RIGHT_FRAMES
    inputs = [seen[:, s : s + CROP_FRAMES + around] for s in starts]
    targets = [wanted[:, s + LEFT_FRAMES : s + LEFT_FRAMES + CROP_FRAMES] for s in starts]
    return torch.stack(inputs), torch.stack(targets)


def train(scenes: Sequence[Scene], fit: Fit, say: Callable[[str], None]) -> VisemeNet:
    """Fit a network to the scenes (crops may run across two of them, as cuts in a film do)."""
    torch.manual_seed(fit.seed)
    rng = np.random.default_rng(fit.seed)
    seen, wanted = _joined(scenes)
    net = VisemeNet()
    net.mean.copy_(seen.mean(dim=1)[None, :, None])
    net.scale.copy_(1 / (seen.std(dim=1)[None, :, None] + 1e-3))
    last_start = seen.shape[1] - CROP_FRAMES - LEFT_FRAMES - RIGHT_FRAMES
    steps = max(1, seen.shape[1] // CROP_FRAMES // fit.batch)
    optimiser = torch.optim.AdamW(net.parameters(), lr=fit.rate, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, fit.rate, fit.epochs * steps)
    for epoch in range(fit.epochs):
        begun, total = time.monotonic(), 0.0
        for _ in range(steps):
            inputs, targets = _batch(seen, wanted, rng.integers(0, last_start, fit.batch))
            error = loss(net.unclamped(inputs), targets)
            optimiser.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += error.item()
        say(f"epoch {epoch + 1}: loss {total / steps:.5f}, {time.monotonic() - begun:.1f} s")
    return net


def scores(net: VisemeNet, scenes: Sequence[Scene]) -> dict[str, float]:
    """Correlation of each shape with its target over whole scenes, and the mean error."""
    got, wanted = [], []
    with torch.no_grad():
        for scene in scenes:
            out = net(torch.from_numpy(scene.channels.T[None].copy()))[0].T.numpy()
            got.append(out)
            wanted.append(scene.shapes[LEFT_FRAMES : LEFT_FRAMES + len(out)])
    a, b = np.concatenate(got), np.concatenate(wanted)
    names = ("opening", "width", "rounding", "teeth", "closure")
    table = {n: float(np.corrcoef(a[:, i], b[:, i])[0, 1]) for i, n in enumerate(names)}
    return table | {"mean_error": float(np.abs(a - b).mean())}
