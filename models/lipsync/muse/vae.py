"""The autoencoder of MuseTalk (Stable Diffusion's, stabilityai/sd-vae-ft-mse).

What it is not: files, or the scale of latents (chain.py). Names as published; the raw file's old
names of the attention are read as the new ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.lipsync.muse.layers import Downsample, Resnet, Upsample, attend, tokens, untokens
from models.lipsync.muse.shape import VaeShape

EPS = 1e-6
_OLD_NAMES = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
_OLD = re.compile(r"(\.attentions\.0\.)(query|key|value|proj_attn)\.")


def renamed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state under the new names of the attention's tensors."""
    return {
        _OLD.sub(lambda found: f"{found[1]}{_OLD_NAMES[found[2]]}.", key): tensor
        for key, tensor in state.items()
    }


class Attention(nn.Module):
    """A picture's attention to itself in one head, added to it."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, width, EPS)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same."""
        rows = tokens(self.group_norm(x))
        made = attend(self.to_q(rows), self.to_k(rows), self.to_v(rows), 1)
        return x + untokens(self.to_out[0](made), x)


class Middle(nn.Module):
    """Resnet, attention, resnet."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Resnet(width, width, groups, EPS) for _ in range(2))
        self.attentions = nn.ModuleList([Attention(width, groups)])

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, H, W] to the same."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))  # type: ignore[no-any-return]


class Down(nn.Module):
    """Resnets of one resolution of the encoder."""

    def __init__(self, inputs: int, width: int, last: bool, shape: VaeShape) -> None:
        super().__init__()
        widths = [inputs] + [width] * (shape.layers - 1)
        self.resnets = nn.ModuleList(Resnet(each, width, shape.groups, EPS) for each in widths)
        if not last:
            self.downsamplers = nn.ModuleList([Downsample(width, lopsided=True)])
        self._last = last

    def forward(self, x: Tensor) -> Tensor:
        """The level's result, half as large but at the last level."""
        for resnet in self.resnets:
            x = resnet(x)
        return x if self._last else self.downsamplers[0](x)


class Up(nn.Module):
    """Resnets of one resolution of the decoder."""

    def __init__(self, inputs: int, width: int, finest: bool, shape: VaeShape) -> None:
        super().__init__()
        widths = [inputs] + [width] * shape.layers
        self.resnets = nn.ModuleList(Resnet(each, width, shape.groups, EPS) for each in widths)
        if not finest:
            self.upsamplers = nn.ModuleList([Upsample(width)])
        self._finest = finest

    def forward(self, x: Tensor) -> Tensor:
        """The level's result, twice as large but at the finest level."""
        for resnet in self.resnets:
            x = resnet(x)
        return x if self._finest else self.upsamplers[0](x)


class Encoder(nn.Module):
    """Pictures to the distribution of their latents."""

    def __init__(self, shape: VaeShape) -> None:
        super().__init__()
        widths = shape.channels
        before = (widths[0], *widths[:-1])
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            Down(before[i], widths[i], i == len(widths) - 1, shape) for i in range(len(widths))
        )
        self.mid_block = Middle(widths[-1], shape.groups)
        self.conv_norm_out = nn.GroupNorm(shape.groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 2 * shape.latents, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] to [B, 8, H/8, W/8]."""
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        x = self.mid_block(x)
        return self.conv_out(functional.silu(self.conv_norm_out(x)))  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """Latents to pictures."""

    def __init__(self, shape: VaeShape) -> None:
        super().__init__()
        widths = tuple(reversed(shape.channels))
        before = (widths[0], *widths[:-1])
        self.conv_in = nn.Conv2d(shape.latents, widths[0], 3, padding=1)
        self.mid_block = Middle(widths[0], shape.groups)
        self.up_blocks = nn.ModuleList(
            Up(before[i], widths[i], i == len(widths) - 1, shape) for i in range(len(widths))
        )
        self.conv_norm_out = nn.GroupNorm(shape.groups, widths[-1], EPS)
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 4, H, W] to [B, 3, 8H, 8W]."""
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(functional.silu(self.conv_norm_out(x)))  # type: ignore[no-any-return]


class Vae(nn.Module):
    """Encoder and decoder with their 1x1 convolutions."""

    def __init__(self, shape: VaeShape) -> None:
        super().__init__()
        self.encoder = Encoder(shape)
        self.decoder = Decoder(shape)
        self.quant_conv = nn.Conv2d(2 * shape.latents, 2 * shape.latents, 1)
        self.post_quant_conv = nn.Conv2d(shape.latents, shape.latents, 1)

    def encode(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance [B, 4, H/8, W/8] of RGB pictures in -1..1."""
        mean, spread = self.quant_conv(self.encoder(pictures)).chunk(2, dim=1)
        return mean, spread.clamp(-30.0, 20.0)

    def decode(self, latents: Tensor) -> Tensor:
        """RGB [B, 3, 8H, 8W], about -1..1, of latents that are not scaled."""
        return self.decoder(self.post_quant_conv(latents))  # type: ignore[no-any-return]


def inventory(shape: VaeShape) -> dict[str, tuple[int, ...]]:
    """The published tensors' names (the new ones) and shapes."""
    with torch.device("meta"):
        network = Vae(shape)
    return {name: tuple(tensor.shape) for name, tensor in network.named_parameters()}
