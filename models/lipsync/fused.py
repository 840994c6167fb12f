"""The network of Wav2Lip made fast: BatchNorm folded into the convolutions, one call per layer.

What it is not: other numbers. Folding is exact but for rounding; at float32 the result lies within
3e-6 of the network as published. On a CPU each layer is one call of oneDNN that convolves, adds and
rectifies, with weights laid out once (docs/decisions/0073); elsewhere plain calls of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from models.lipsync.hourglass import (
    AUDIO_ENCODER,
    COLOURS,
    FACE_DECODER,
    FACE_ENCODER,
    LAST,
    Layer,
)

Step = Callable[[Tensor], Tensor]

EPSILON = 1e-5
"""Of every BatchNorm; torch's default."""


def folded(state: Mapping[str, Tensor], name: str, layer: Layer) -> tuple[Tensor, Tensor]:
    """Weight and bias in float64 of a convolution that does its BatchNorm as well."""
    weight, bias = (state[f"{name}.conv_block.0.{part}"].double() for part in ("weight", "bias"))
    parts = ("weight", "bias", "running_mean", "running_var")
    scale, shift, mean, variance = (state[f"{name}.conv_block.1.{part}"].double() for part in parts)
    gain = scale / torch.sqrt(variance + EPSILON)
    shape = (1, -1, 1, 1) if layer.up else (-1, 1, 1, 1)
    return weight * gain.reshape(shape), (bias - mean) * gain + shift


class _Plain:
    """A layer by torch's own calls."""

    def __init__(self, layer: Layer, weight: Tensor, bias: Tensor, relu: bool = True) -> None:
        self._layer, self._relu = layer, relu
        self._weight = weight.contiguous(memory_format=torch.channels_last)
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        layer = self._layer
        if layer.up:
            more = layer.stride[0] - 1
            made = nn.functional.conv_transpose2d(
                x, self._weight, self._bias, layer.stride, layer.padding, more
            )
        else:
            made = nn.functional.conv2d(x, self._weight, self._bias, layer.stride, layer.padding)
        if layer.residual:
            made += x
        return made.relu_() if self._relu else made


class _Packed:
    """A layer by one call of oneDNN. The first call's batch decides how the weight is laid out."""

    def __init__(self, layer: Layer, weight: Tensor, bias: Tensor, relu: bool = True) -> None:
        self._layer = layer
        self._weight, self._bias = weight, bias
        self._after = "relu" if relu else "none"
        self._padding, self._stride = [layer.padding] * 2, list(layer.stride)
        self._more = [step - 1 for step in layer.stride]
        self._packed = False

    def __call__(self, x: Tensor) -> Tensor:
        if not self._packed:
            self._pack(list(x.shape))
        weight, bias, ops = self._weight, self._bias, torch.ops.mkldnn
        places = (self._padding, self._stride, [1, 1], 1)
        made: Tensor
        if self._layer.up:
            places_up = (self._padding, self._more, *places[1:])
            made = ops._convolution_transpose_pointwise(
                x, weight, bias, *places_up, self._after, [], ""
            )
        elif self._layer.residual:
            made = ops._convolution_pointwise.binary(
                x, x, weight, bias, *places, "add", 1.0, self._after, [], ""
            )
        else:
            made = ops._convolution_pointwise(x, weight, bias, *places, self._after, [], "")
        return made

    def _pack(self, shape: list[int]) -> None:
        ops = torch.ops.mkldnn
        if self._layer.up:
            self._weight = ops._reorder_convolution_transpose_weight(
                self._weight, self._padding, self._more, self._stride, [1, 1], 1, shape
            )
        else:
            self._weight = ops._reorder_convolution_weight(
                self._weight, self._padding, self._stride, [1, 1], 1, shape
            )
        self._packed = True


class Fused:
    """`Hourglass.forward` for one device and precision, made of a state with the published names.
    One thread at a time.
    """

    def __init__(self, state: Mapping[str, Tensor], device: str, dtype: torch.dtype) -> None:
        self._state: Mapping[str, Tensor] = state
        self._device, self._dtype = device, dtype
        self._kind = _Packed if device == "cpu" and has_packed() else _Plain
        self._encoder = self._blocks("face_encoder_blocks", FACE_ENCODER)
        self._audio = self._steps("audio_encoder", AUDIO_ENCODER)
        self._decoder = self._blocks("face_decoder_blocks", FACE_DECODER)
        weight, bias = (self._moved(state[f"output_block.1.{part}"]) for part in ("weight", "bias"))
        colours = self._kind(COLOURS, weight, bias, relu=False)
        self._last = [*self._steps("output_block", (LAST,)), colours]
        self._state = {}

    def __call__(self, mel: Tensor, faces: Tensor) -> Tensor:
        """See `Hourglass.forward`; takes and gives float32."""
        kept = []
        x = self._laid(faces)
        for steps in self._encoder:
            x = _through(steps, x)
            kept.append(x)
        x = _through(self._audio, self._laid(mel))
        for steps in self._decoder:
            x = torch.cat((_through(steps, x), kept.pop()), dim=1)
        return torch.sigmoid(_through(self._last, x).float())

    def _blocks(self, name: str, blocks: Sequence[Sequence[Layer]]) -> list[list[Step]]:
        return [self._steps(f"{name}.{index}", layers) for index, layers in enumerate(blocks)]

    def _steps(self, name: str, layers: Sequence[Layer]) -> list[Step]:
        made: list[Step] = []
        for index, layer in enumerate(layers):
            weight, bias = folded(self._state, f"{name}.{index}", layer)
            made.append(self._kind(layer, self._moved(weight), self._moved(bias)))
        return made

    def _moved(self, tensor: Tensor) -> Tensor:
        return tensor.detach().to(self._device, self._dtype)

    def _laid(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._dtype).contiguous(memory_format=torch.channels_last)


def _through(steps: list[Step], x: Tensor) -> Tensor:
    for step in steps:
        x = step(x)
    return x


def has_packed() -> bool:
    """Whether this build of torch has the calls of oneDNN that `_Packed` makes."""
    wanted = (
        "_convolution_pointwise",
        "_convolution_transpose_pointwise",
        "_reorder_convolution_weight",
        "_reorder_convolution_transpose_weight",
    )
    return bool(torch._C._has_mkldnn) and all(hasattr(torch.ops.mkldnn, name) for name in wanted)
