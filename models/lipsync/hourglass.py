"""The network of Wav2Lip: 0.2 s of mel and a face with its mouth hidden in, the speaking face out.

What it is not: files, pictures or patches (wav2lip.py). Layers as published (facts: 36,298,035
parameters, 352 tensors): a face encoder, whose steps are appended to the decoder's, deepest first,
and an audio encoder that gives the decoder its first 512 numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

SIDE_PX = 96
MEL_BANDS = 80
MEL_COLUMNS = 16
FACE_CHANNELS = 6


@dataclass(frozen=True)
class Layer:
    """One convolution with BatchNorm and ReLU. `up`: a transposed one, which at stride 2 doubles
    both sides. `residual`: the input is added before the ReLU.
    """

    inputs: int
    outputs: int
    kernel: int = 3
    stride: tuple[int, int] = (1, 1)
    padding: int = 1
    up: bool = False
    residual: bool = False


def _step(inputs: int, outputs: int, *stride: int) -> Layer:
    """A 3x3 convolution that shrinks by `stride` (one number, or height and width)."""
    return Layer(inputs, outputs, stride=(stride[0], stride[-1]))


def _same(width: int, times: int) -> tuple[Layer, ...]:
    """3x3 convolutions that add to their input."""
    return (Layer(width, width, residual=True),) * times


def _bare(inputs: int, outputs: int, kernel: int, up: bool = False) -> Layer:
    """A convolution without padding."""
    return Layer(inputs, outputs, kernel, padding=0, up=up)


def _up(inputs: int, outputs: int) -> Layer:
    return Layer(inputs, outputs, stride=(2, 2), up=True)


FACE_ENCODER: tuple[tuple[Layer, ...], ...] = (
    (Layer(FACE_CHANNELS, 16, kernel=7, padding=3),),
    (_step(16, 32, 2), *_same(32, 2)),
    (_step(32, 64, 2), *_same(64, 3)),
    (_step(64, 128, 2), *_same(128, 2)),
    (_step(128, 256, 2), *_same(256, 2)),
    (_step(256, 512, 2), *_same(512, 1)),
    (_bare(512, 512, 3), _bare(512, 512, 1)),
)
AUDIO_ENCODER: tuple[Layer, ...] = (
    _step(1, 32, 1),
    *_same(32, 2),
    _step(32, 64, 3, 1),
    *_same(64, 2),
    _step(64, 128, 3),
    *_same(128, 2),
    _step(128, 256, 3, 2),
    *_same(256, 1),
    _bare(256, 512, 3),
    _bare(512, 512, 1),
)
FACE_DECODER: tuple[tuple[Layer, ...], ...] = (
    (_bare(512, 512, 1),),
    (_bare(1024, 512, 3, up=True), *_same(512, 1)),
    (_up(1024, 512), *_same(512, 2)),
    (_up(768, 384), *_same(384, 2)),
    (_up(512, 256), *_same(256, 2)),
    (_up(320, 128), *_same(128, 2)),
    (_up(160, 64), *_same(64, 2)),
)
LAST: Layer = _step(80, 32, 1)
COLOURS: Layer = _bare(32, 3, 1)
"""Without BatchNorm; a sigmoid follows."""


def inventory() -> dict[str, tuple[int, ...]]:
    """The published names (without the prefix "module.") and shapes of all tensors."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in Hourglass().state_dict().items()}


class Block(nn.Module):
    """A layer under its published names: `conv_block.0` convolves, `conv_block.1` normalises."""

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer
        self.conv_block = nn.Sequential(_convolution(layer), nn.BatchNorm2d(layer.outputs))

    def forward(self, x: Tensor) -> Tensor:
        """The layer's result."""
        made = self.conv_block(x)
        return torch.relu(made + x if self.layer.residual else made)


def _convolution(layer: Layer) -> nn.Conv2d | nn.ConvTranspose2d:
    sizes = (layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.padding)
    if layer.up:
        return nn.ConvTranspose2d(*sizes, output_padding=layer.stride[0] - 1)
    return nn.Conv2d(*sizes)


def _blocks(layers: tuple[Layer, ...]) -> nn.Sequential:
    return nn.Sequential(*(Block(layer) for layer in layers))


class Hourglass(nn.Module):
    """The network as published, for any precision and device."""

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder_blocks = nn.ModuleList(_blocks(layers) for layers in FACE_ENCODER)
        self.audio_encoder = _blocks(AUDIO_ENCODER)
        self.face_decoder_blocks = nn.ModuleList(_blocks(layers) for layers in FACE_DECODER)
        self.output_block = nn.Sequential(Block(LAST), _convolution(COLOURS))

    def forward(self, mel: Tensor, faces: Tensor) -> Tensor:
        """The faces [B, 3, 96, 96], BGR in 0..1.

        `mel` [B, 1, 80, 16] in -4..4; `faces` [B, 6, 96, 96], BGR in 0..1: three channels with rows
        48..95 zero, then three of the whole face.
        """
        kept, x = [], faces
        for block in self.face_encoder_blocks:
            x = block(x)
            kept.append(x)
        x = self.audio_encoder(mel)
        for block in self.face_decoder_blocks:
            x = torch.cat((block(x), kept.pop()), dim=1)
        return torch.sigmoid(self.output_block(x))
