"""MuseTalk's UNet: latents of a masked and a whole face and 50 rows of sound in, latents out.

What it is not: files (weights.py), or the way from latents to pictures (vae.py). The layout is
diffusers' UNet2DConditionModel as published (facts: 686 tensors, 849,947,844 parameters); one pass
at step 0. The step's embedding is then a constant: it is worked out once, when weights are put in.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.lipsync.muse.layers import Downsample, Resnet, Upsample, attend, tokens, untokens
from models.lipsync.muse.shape import UNetShape

EPS = 1e-5
_TIME_KEYS = ("time_embedding.", ".time_emb_proj.")
# Published as 1x1 convolutions, linear layers here.
_CONVOLVED = (".proj_in.weight", ".proj_out.weight")


class Attention(nn.Module):
    """Attention of rows to rows of another width."""

    def __init__(self, width: int, other: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(other, width, bias=False)
        self.to_v = nn.Linear(other, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        """[B, N, width] looking at [B, M, other]."""
        made = attend(self.to_q(x), self.to_k(other), self.to_v(other), self._heads)
        return self.to_out[0](made)  # type: ignore[no-any-return]


class Gate(nn.Module):
    """GEGLU: the first half of a projection, gated by the exact GELU of the second."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to [..., inner]."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        made: Tensor = value * functional.gelu(gate)
        return made


class FeedForward(nn.Module):
    """Four times the width, gated, and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(Gate(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to the same."""
        return self.net(x)  # type: ignore[no-any-return]


class Layer(nn.Module):
    """Attention to the picture itself, to the sound, and a feed-forward net; pre-norm."""

    def __init__(self, width: int, shape: UNetShape) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn1 = Attention(width, width, shape.heads)
        self.norm2 = nn.LayerNorm(width)
        self.attn2 = Attention(width, shape.sound, shape.heads)
        self.norm3 = nn.LayerNorm(width)
        self.ff = FeedForward(width)

    def forward(self, x: Tensor, sound: Tensor) -> Tensor:
        """[B, N, width] to the same."""
        own = self.norm1(x)
        x = x + self.attn1(own, own)
        x = x + self.attn2(self.norm2(x), sound)
        return x + self.ff(self.norm3(x))  # type: ignore[no-any-return]


class Transformer(nn.Module):
    """A layer of attention around a picture, added to it."""

    def __init__(self, width: int, shape: UNetShape) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(shape.groups, width, 1e-6)
        self.proj_in = nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([Layer(width, shape)])
        self.proj_out = nn.Linear(width, width)

    def forward(self, x: Tensor, sound: Tensor) -> Tensor:
        """[B, width, H, W] to the same."""
        rows = self.proj_in(tokens(self.norm(x)))
        rows = self.proj_out(self.transformer_blocks[0](rows, sound))
        return x + untokens(rows, x)


class Level(nn.Module):
    """Resnets of one resolution, each followed by attention where the level has it."""

    def __init__(self, inputs: list[int], width: int, attends: bool, shape: UNetShape) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(each, width, shape.groups, EPS) for each in inputs)
        if attends:
            self.attentions = nn.ModuleList(Transformer(width, shape) for _ in inputs)
        self._attends = attends

    def step(self, index: int, x: Tensor, sound: Tensor) -> Tensor:
        """Resnet number `index` and its attention."""
        x = self.resnets[index](x)
        return self.attentions[index](x, sound) if self._attends else x


class Down(Level):
    """A level on the way down; keeps what it made at every step."""

    def __init__(self, inputs: int, width: int, last: bool, shape: UNetShape) -> None:
        super().__init__([inputs] + [width] * (shape.layers - 1), width, not last, shape)
        if not last:
            self.downsamplers = nn.ModuleList([Downsample(width, lopsided=False)])
        self._last = last

    def forward(self, x: Tensor, sound: Tensor, kept: list[Tensor]) -> Tensor:
        """The level's result; its steps are appended to `kept`."""
        for index in range(len(self.resnets)):
            x = self.step(index, x, sound)
            kept.append(x)
        if not self._last:
            x = self.downsamplers[0](x)
            kept.append(x)
        return x


class Up(Level):
    """A level on the way up; takes what the way down kept, latest first."""

    def __init__(
        self, inputs: list[int], width: int, place: tuple[bool, bool], shape: UNetShape
    ) -> None:
        """`place`: whether it is the deepest level, whether it is the finest."""
        deepest, finest = place
        super().__init__(inputs, width, not deepest, shape)
        if not finest:
            self.upsamplers = nn.ModuleList([Upsample(width)])
        self._finest = finest

    def forward(self, x: Tensor, sound: Tensor, kept: list[Tensor]) -> Tensor:
        """The level's result."""
        for index in range(len(self.resnets)):
            x = self.step(index, torch.cat((x, kept.pop()), dim=1), sound)
        return x if self._finest else self.upsamplers[0](x)


class Middle(nn.Module):
    """The deepest part: resnet, attention, resnet."""

    def __init__(self, width: int, shape: UNetShape) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(width, width, shape.groups, EPS) for _ in range(2))
        self.attentions = nn.ModuleList([Transformer(width, shape)])

    def forward(self, x: Tensor, sound: Tensor) -> Tensor:
        """[B, width, H, W] to the same."""
        x = self.attentions[0](self.resnets[0](x), sound)
        return self.resnets[1](x)  # type: ignore[no-any-return]


class UNet(nn.Module):
    """The network; see the module. Weights go in through `Folded`."""

    def __init__(self, shape: UNetShape) -> None:
        super().__init__()
        widths = shape.channels
        top = len(widths) - 1
        self.conv_in = nn.Conv2d(shape.inputs, widths[0], 3, padding=1)
        before = (widths[0], *widths[:-1])
        self.down_blocks = nn.ModuleList(
            Down(before[i], widths[i], i == top, shape) for i in range(top + 1)
        )
        self.mid_block = Middle(widths[-1], shape)
        self.up_blocks = nn.ModuleList(
            Up(_up_inputs(shape, i), widths[i], (i == top, i == 0), shape)
            for i in reversed(range(top + 1))
        )
        self.conv_norm_out = nn.GroupNorm(shape.groups, widths[0], EPS)
        self.conv_out = nn.Conv2d(widths[0], shape.outputs, 3, padding=1)

    def forward(self, latents: Tensor, sound: Tensor) -> Tensor:
        """Latents [B, 4, H, W] of the speaking face, still scaled.

        `latents` [B, 8, H, W]: the masked face, then the reference; `sound` [B, 50, 384], positions
        already added.
        """
        x = self.conv_in(latents)
        kept = [x]
        for block in self.down_blocks:
            x = block(x, sound, kept)
        x = self.mid_block(x, sound)
        for block in self.up_blocks:
            x = block(x, sound, kept)
        return self.conv_out(functional.silu(self.conv_norm_out(x)))  # type: ignore[no-any-return]


def _up_inputs(shape: UNetShape, level: int) -> list[int]:
    """Channels into each resnet of a level on the way up: what comes from below, and what the way
    down kept at this level (its own steps, and last the one before them).
    """
    widths = shape.channels
    below = widths[min(level + 1, len(widths) - 1)]
    kept = [widths[level]] * shape.layers + [widths[max(level - 1, 0)]]
    return [
        own + skip for own, skip in zip([below] + [widths[level]] * shape.layers, kept, strict=True)
    ]


def inventory(shape: UNetShape) -> dict[str, tuple[int, ...]]:
    """The published tensors' names and shapes, the step's embedding among them."""
    with torch.device("meta"):
        network = UNet(shape)
    found: dict[str, tuple[int, ...]] = {}
    for name, tensor in network.named_parameters():
        sizes = tuple(tensor.shape)
        found[name] = (*sizes, 1, 1) if name.endswith(_CONVOLVED) else sizes
    first, inner = shape.channels[0], 4 * shape.channels[0]
    for name, sizes in list(found.items()):
        if name.endswith(".conv1.bias"):
            into = name.removesuffix("conv1.bias") + "time_emb_proj"
            found |= {f"{into}.weight": (*sizes, inner), f"{into}.bias": sizes}
    for number, width in ((1, first), (2, inner)):
        found[f"time_embedding.linear_{number}.weight"] = (inner, width)
        found[f"time_embedding.linear_{number}.bias"] = (inner,)
    return found


class Folded(Mapping[str, Tensor]):
    """A published state without its step embedding, which goes into the resnets' first biases.

    Tensors are worked out when asked for, so no second copy of the file is held.
    """

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self._state = state
        self._step: Tensor | None = None

    def __getitem__(self, key: str) -> Tensor:
        tensor = self._state[key]
        if not key.endswith(".conv1.bias"):
            return tensor
        if self._step is None:
            self._step = step_embedding(self._state)
        into = key.removesuffix("conv1.bias") + "time_emb_proj"
        added = functional.linear(
            self._step, self._state[f"{into}.weight"], self._state[f"{into}.bias"]
        )
        return tensor + added

    def __iter__(self) -> Iterator[str]:
        return (key for key in self._state if not any(part in key for part in _TIME_KEYS))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def step_embedding(state: Mapping[str, Tensor]) -> Tensor:
    """What step 0 gives every resnet, [1280]: cosines (1) before sines (0), two linear layers."""
    first = state["time_embedding.linear_1.weight"]
    waves = torch.zeros(first.shape[1])
    waves[: first.shape[1] // 2] = 1
    made = functional.silu(functional.linear(waves, first, state["time_embedding.linear_1.bias"]))
    second = state["time_embedding.linear_2.weight"]
    return functional.silu(functional.linear(made, second, state["time_embedding.linear_2.bias"]))


def positions(rows: int, width: int) -> Tensor:
    """The sinusoidal table [rows, width] that is added to the sound; it is in no file.

    Row p: sin(p * 10000^(-2i/width)) at 2i, its cosine at 2i + 1 (facts: lipsync-models).
    """
    rates = torch.exp(torch.arange(0, width, 2).double() * (-math.log(10000.0) / width))
    angles = torch.arange(rows).double()[:, None] * rates
    return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1).float()
