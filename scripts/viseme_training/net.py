"""The network and its training: a small temporal convolutional net in PyTorch.

What it is: dilated convolutions over log-mel frames, a head, a fixed smoothing filter, a gate, and
the loop that fits them. What it is not: needed to run the model (export.py writes ONNX).

While it trains it also has to say which sound it hears (`MOUTHS`): a mouth that stands on sounds
carries over to real voices better than one that stands on their loudness. That part is not kept.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.audio import logmel
from models.audio.viseme import LEFT_FRAMES, RIGHT_FRAMES, SHAPES
from scripts.viseme_training.corpus import Scene
from scripts.viseme_training.phones import MOUTHS

HIDDEN = 112
HEAD = 48
KERNEL = 5
# The residual layers: their dilation, and how many of the kernel's taps lie in the future.
LAYERS = ((2, 2), (4, 1), (6, 0), (3, 1))
OUTPUTS = len(SHAPES) + 1
SMOOTH_TAPS = 9
# Standard deviations in frames: the five shapes, the voice. Lips press faster than they open.
SMOOTH_SIGMAS = (1.8, 2.0, 2.0, 2.0, 1.0, 2.0)
# What the outputs below are taken for none at all, and from where they are full: rest gives zeros,
# not small numbers, and the lips press or do not.
FLOORS = (0.02, 0.02, 0.02, 0.02, 0.35, 0.02)
FULLS = (0.98, 0.98, 0.98, 0.98, 0.55, 0.98)
# The voice below which the mouth is at rest, and from which it is not held back.
VOICE_FROM, VOICE_TO = 0.2, 0.5
SHAPE_WEIGHTS = (3.0, 1.0, 1.0, 1.0, 3.0, 1.0)
CLOSURE = SHAPES.index("closure")
CLOSED_WEIGHT = 0.5
VELOCITY_WEIGHT = 10.0
SOUND_WEIGHT = 0.03
# Training hears every crop as from another throat and microphone: bands moved by up to so many, a
# smooth equaliser of up to so many nepers, in some a few bands missing.
WARP_BANDS = 2.5
TILT_NEPER = 1.0
MASKED_SHARE, MASKED_BANDS = 0.5, 8
DROPOUT = 0.15
CROP_FRAMES = 300
AVERAGED_STEPS = 300


class VisemeNet(nn.Module):
    """[N, CHANNELS, T] to [N, 6, T - LEFT_FRAMES - RIGHT_FRAMES]: five shapes and the voice.

    One of several whose mean is the model (`Choir`).
    """

    mean: Tensor
    scale: Tensor
    taps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, logmel.CHANNELS, 1))
        self.register_buffer("scale", torch.ones(1, logmel.CHANNELS, 1))
        at = torch.arange(SMOOTH_TAPS) - SMOOTH_TAPS // 2
        taps = torch.exp(-0.5 * (at / torch.tensor(SMOOTH_SIGMAS)[:, None]) ** 2)
        self.register_buffer("taps", (taps / taps.sum(dim=1, keepdim=True))[:, None])
        self.first = nn.Conv1d(logmel.CHANNELS, HIDDEN, KERNEL)
        self.middle = nn.ModuleList(
            nn.Conv1d(HIDDEN, HIDDEN, KERNEL, dilation=dilation) for dilation, _ in LAYERS
        )
        self.head = nn.Conv1d(HIDDEN, HEAD, 1)
        self.out = nn.Conv1d(HEAD, OUTPUTS, 1)
        self.sound = nn.Conv1d(HIDDEN, len(MOUTHS), 1)
        self.drop = nn.Dropout(DROPOUT)
        edge = (KERNEL - 1) // 2 + SMOOTH_TAPS // 2
        right = edge + sum(dilation * taps for dilation, taps in LAYERS)
        left = edge + sum(dilation * (KERNEL - 1 - taps) for dilation, taps in LAYERS)
        if (left, right) != (LEFT_FRAMES, RIGHT_FRAMES):
            raise ValueError(f"the net sees {left} and {right} frames, the model says otherwise")

    def forward(self, seen: Tensor) -> Tensor:
        """The six rows in 0..1; see `rows`."""
        return self.rows(self.heard(seen))

    def heard(self, seen: Tensor) -> Tensor:
        """What the layers make of the sound, [N, HIDDEN, T - 64]."""
        x: Tensor = functional.relu(self.first((seen - self.mean) * self.scale))
        for conv, (dilation, taps) in zip(self.middle, LAYERS, strict=True):
            right, left = dilation * taps, dilation * (KERNEL - 1 - taps)
            x = x[..., left : x.shape[-1] - right] + functional.relu(conv(x))
        dropped: Tensor = self.drop(x)
        return dropped

    def rows(self, heard: Tensor) -> Tensor:
        """The six rows in 0..1."""
        x = torch.sigmoid(self.out(functional.relu(self.head(heard))))
        return functional.conv1d(x, self.taps, groups=OUTPUTS)

    def sounds(self, heard: Tensor) -> Tensor:
        """Scores of `MOUTHS` [N, len(MOUTHS), T - LEFT_FRAMES - RIGHT_FRAMES]."""
        edge = SMOOTH_TAPS // 2
        scores: Tensor = self.sound(heard[..., edge : heard.shape[-1] - edge])
        return scores


class Choir(nn.Module):
    """The model: the mean of several networks, then what makes it a mouth.

    [N, CHANNELS, T] to [N, 6, T - LEFT_FRAMES - RIGHT_FRAMES]: shapes in 0..1, zeros where nobody
    speaks; then the voice.
    """

    def __init__(self, nets: Sequence[VisemeNet]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, seen: Tensor) -> Tensor:
        """Shapes and voice."""
        mean = torch.stack([net(seen) for net in self.nets]).mean(dim=0)
        floors, fulls = torch.tensor(FLOORS)[:, None], torch.tensor(FULLS)[:, None]
        rows = torch.clamp((mean - floors) / (fulls - floors), 0, 1)
        voice = rows[:, OUTPUTS - 1 :]
        gate = torch.clamp((voice - VOICE_FROM) / (VOICE_TO - VOICE_FROM), 0, 1)
        return torch.cat([rows[:, : OUTPUTS - 1] * gate, voice], dim=1)


@dataclass(frozen=True)
class Fit:
    """How to train."""

    epochs: int = 30
    batch: int = 32
    rate: float = 3e-3
    seed: int = 7


@dataclass(frozen=True, eq=False)
class Data:
    """All scenes on one time axis: inputs [CHANNELS, T], targets [6, T], which mouth [T]."""

    seen: Tensor
    wanted: Tensor
    mouths: Tensor

    def crops(self, starts: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs and what is wanted of them, from each start."""
        around, begins = LEFT_FRAMES + RIGHT_FRAMES, starts + LEFT_FRAMES
        return (
            torch.stack([self.seen[:, s : s + CROP_FRAMES + around] for s in starts]),
            torch.stack([self.wanted[:, s : s + CROP_FRAMES] for s in begins]),
            torch.stack([self.mouths[s : s + CROP_FRAMES] for s in begins]),
        )


def joined(scenes: Sequence[Scene]) -> Data:
    """The scenes one after the other."""
    seen = np.concatenate([scene.channels for scene in scenes]).T
    wanted = np.concatenate([np.column_stack([s.shapes, s.voice]) for s in scenes]).T
    mouths = np.concatenate([scene.mouths for scene in scenes])
    return Data(
        torch.from_numpy(seen.copy()), torch.from_numpy(wanted.copy()), torch.from_numpy(mouths)
    )


def loss(got: Tensor, wanted: Tensor) -> Tensor:
    """Squared error of the shapes and of their change from frame to frame.

    A closure that is missed counts more than one too many: what is half sure is to press.
    """
    weights = torch.tensor(SHAPE_WEIGHTS)[None, :, None].repeat(len(wanted), 1, wanted.shape[-1])
    weights[:, CLOSURE] *= 1 + CLOSED_WEIGHT * wanted[:, CLOSURE]
    near = ((got - wanted) ** 2 * weights).mean()
    moves = ((got.diff(dim=-1) - wanted.diff(dim=-1)) ** 2 * weights[..., 1:]).mean()
    return near + VELOCITY_WEIGHT * moves


def varied(seen: Tensor, blank: Tensor, rng: np.random.Generator) -> Tensor:
    """Crops [N, CHANNELS, T] as from other throats (bands moved) and other microphones (tilted).

    In some of them a few neighbouring bands say nothing: they hold `blank` [1, CHANNELS, 1].
    """
    count, bands = len(seen), logmel.BANDS
    at = torch.arange(bands, dtype=torch.float32)
    moved = at[None] + torch.from_numpy(rng.uniform(-WARP_BANDS, WARP_BANDS, (count, 1))).float()
    near = torch.clamp(1 - (moved.clamp(0, bands - 1)[:, :, None] - at).abs(), min=0)
    knots = torch.from_numpy(rng.uniform(-TILT_NEPER, TILT_NEPER, (count, 1, 4))).float()
    tilt = functional.interpolate(knots, size=bands, mode="linear", align_corners=True)
    heard = near @ seen[:, :bands] + tilt.transpose(1, 2)
    for one in np.flatnonzero(rng.random(count) < MASKED_SHARE):
        low, wide = int(rng.integers(bands)), int(rng.integers(1, MASKED_BANDS + 1))
        heard[one, low : low + wide] = blank[0, low : min(low + wide, bands)]
    return torch.cat([heard, seen[:, bands:]], dim=1)


def train(scenes: Sequence[Scene], fit: Fit, say: Callable[[str], None]) -> VisemeNet:
    """Fit a network to the scenes (crops may run across two of them, as cuts in a film do).

    What comes back is the running average of the weights over the last few hundred steps.
    """
    torch.manual_seed(fit.seed)
    rng = np.random.default_rng(fit.seed)
    data = joined(scenes)
    net = VisemeNet()
    net.mean.copy_(data.seen.mean(dim=1)[None, :, None])
    net.scale.copy_(1 / (data.seen.std(dim=1)[None, :, None] + 1e-3))
    kept = copy.deepcopy(net).eval()
    steps = max(1, data.seen.shape[1] // CROP_FRAMES // fit.batch)
    optimiser = torch.optim.AdamW(net.parameters(), lr=fit.rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, fit.rate, fit.epochs * steps)
    last_start = data.seen.shape[1] - CROP_FRAMES - LEFT_FRAMES - RIGHT_FRAMES
    for epoch in range(fit.epochs):
        begun, total = time.monotonic(), 0.0
        for step in range(epoch * steps, (epoch + 1) * steps):
            error = _error(net, data.crops(rng.integers(0, last_start, fit.batch)), rng)
            optimiser.zero_grad()
            error.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            _average(kept, net, step)
            total += error.item()
        say(f"epoch {epoch + 1}: loss {total / steps:.5f}, {time.monotonic() - begun:.1f} s")
    return kept


def _error(
    net: VisemeNet, crops: tuple[Tensor, Tensor, Tensor], rng: np.random.Generator
) -> Tensor:
    seen, wanted, mouths = crops
    heard = net.heard(varied(seen, net.mean, rng))
    told = functional.cross_entropy(net.sounds(heard), mouths, label_smoothing=0.05)
    return loss(net.rows(heard), wanted) + SOUND_WEIGHT * told


def _average(kept: VisemeNet, net: VisemeNet, step: int) -> None:
    """Move the average towards the network: by a growing window, at most `AVERAGED_STEPS` long."""
    part = max(1 / AVERAGED_STEPS, 1 / math.sqrt(step + 1))
    with torch.no_grad():
        for mean, value in zip(kept.parameters(), net.parameters(), strict=True):
            mean.lerp_(value, part)


def scores(model: Choir, scenes: Sequence[Scene]) -> dict[str, float]:
    """Correlation of each shape with its target over whole scenes, and the mean error."""
    got, wanted = [], []
    model.eval()
    with torch.no_grad():
        for scene in scenes:
            out = model(torch.from_numpy(scene.channels.T[None].copy()))[0].T.numpy()
            got.append(out)
            both = np.column_stack([scene.shapes, scene.voice])
            wanted.append(both[LEFT_FRAMES : LEFT_FRAMES + len(out)])
    a, b = np.concatenate(got), np.concatenate(wanted)
    names = (*SHAPES, "voice")
    table = {name: _correlation(a[:, i], b[:, i]) for i, name in enumerate(names)}
    return table | {"mean_error": float(np.abs(a - b).mean())}


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Pearson's; 0 where one of them never moves, as after a training of two minutes."""
    if one.std() == 0 or other.std() == 0:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
