"""Layers that MuseTalk's UNet and autoencoder share, under diffusers' published tensor names.

What it is not: a general library of layers. Everything is made for channels_last pictures.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Resnet(nn.Module):
    """Two convolutions with GroupNorm and SiLU before each, added to the input.

    The step embedding of diffusion models is not here: MuseTalk only ever runs step 0, so what it
    adds is a constant, which unet.py puts into the first convolution's bias.
    """

    def __init__(self, inputs: int, outputs: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs, eps)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs, H, W] to [B, outputs, H, W]."""
        made: Tensor = self.conv1(functional.silu(self.norm1(x)))
        made = self.conv2(functional.silu(self.norm2(made)))
        kept: Tensor = x if self.conv_shortcut is None else self.conv_shortcut(x)
        return made + kept


class Upsample(nn.Module):
    """Doubles both sides (nearest), then convolves."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, 2H, 2W]."""
        made: Tensor = self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))
        return made


class Downsample(nn.Module):
    """Halves both sides by a convolution of stride 2.

    `lopsided`: padded by one at the right and the bottom only, as the autoencoder is; else all
    around, as the UNet is.
    """

    def __init__(self, channels: int, lopsided: bool) -> None:
        super().__init__()
        self._lopsided = lopsided
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=0 if lopsided else 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, C, H/2, W/2]."""
        made: Tensor = self.conv(functional.pad(x, (0, 1, 0, 1)) if self._lopsided else x)
        return made


def tokens(x: Tensor) -> Tensor:
    """A picture [B, C, H, W] as rows [B, H*W, C]; a view where it lies channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def untokens(rows: Tensor, like: Tensor) -> Tensor:
    """Rows [B, H*W, C] as a picture of the sides of `like`, channels_last."""
    batch, _, height, width = like.shape
    return rows.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def attend(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Softmax attention of rows [B, N, C] to rows [B, M, C] in `heads` parts of C."""
    q, k, v = (
        each.reshape(*each.shape[:2], heads, -1).transpose(1, 2) for each in (query, key, value)
    )
    made = functional.scaled_dot_product_attention(q, k, v)
    return made.transpose(1, 2).flatten(2)
