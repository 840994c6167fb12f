"""The speech model "whisper": 50 rows of Whisper-tiny's encoder around each video frame.

What it is: log-mel of 30 s pieces from the recording's start on, through the encoder; the five
layers' outputs of ten steps of 20 ms are one frame's feature, as MuseTalk was trained
(facts: lipsync-models.md). What it is not: recognition of words; it runs on the CPU, because the
device belongs to the lane. At 25 to 49 frames/s the rows are MuseTalk's own; at others its own
padding shifts them against the picture, which is not repeated here (docs/decisions/0075).
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.audio.base import SAMPLE_RATE_HZ, SpeechModel
from models.audio.window import check
from models.weights import WeightsError, fill, read_weights

NAME = "whisper"
FILES = ("whisper/pytorch_model.bin", "whisper/model.safetensors")
PIECE_S = 30
PIECE_SAMPLES = PIECE_S * SAMPLE_RATE_HZ
STEPS_PER_S = 50
PIECE_STEPS = PIECE_S * STEPS_PER_S
SLOTS = 10
LEAD_STEPS = 4
"""Steps of a frame's ten that lie before it: 2 * ceil(50 / fps) at the 25 frames/s of training."""
FFT, HOP, BANDS = 400, 160, 80
KEPT_PIECES = 2
"""Encoded pieces in memory, 11.5 MB each; the frames of a block touch two at most."""
# Whether a step begins at a frame's time must not hang on how the time was rounded.
_ROUNDING_STEPS = 1e-4
# Slaney's mel scale: linear below 1 kHz (200/3 Hz per mel), then 27 mels per factor of 6.4.
_LINEAR_HZ, _BREAK_HZ, _LOG_STEP = 200.0 / 3, 1000.0, math.log(6.4) / 27


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of the encoder; the defaults are Whisper-tiny's."""

    width: int = 384
    heads: int = 6
    layers: int = 4
    steps: int = PIECE_STEPS


class SelfAttention(nn.Module):
    """Attention of all steps to all; the keys have no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, width] to the same."""
        parts = [
            each(x).unflatten(-1, (self._heads, -1)).transpose(1, 2)
            for each in (self.q_proj, self.k_proj, self.v_proj)
        ]
        made = functional.scaled_dot_product_attention(*parts)
        return self.out_proj(made.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.self_attn_layer_norm = nn.LayerNorm(shape.width)
        self.self_attn = SelfAttention(shape.width, shape.heads)
        self.final_layer_norm = nn.LayerNorm(shape.width)
        self.fc1 = nn.Linear(shape.width, 4 * shape.width)
        self.fc2 = nn.Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, width] to the same."""
        x = x + self.self_attn(self.self_attn_layer_norm(x))
        return x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """Whisper's encoder under its published names."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(BANDS, shape.width, 3, padding=1)
        self.conv2 = nn.Conv1d(shape.width, shape.width, 3, stride=2, padding=1)
        self.embed_positions = nn.Embedding(shape.steps, shape.width)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.layer_norm = nn.LayerNorm(shape.width)

    def forward(self, mel: Tensor) -> Tensor:
        """Hidden states [B, N, layers + 1, width] of mel [B, 80, 2N]: what goes into the first
        layer, what each layer gives; the last one's normalised.
        """
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        x = x + self.embed_positions.weight
        states = [x]
        for layer in self.layers:
            x = layer(x)
            states.append(x)
        states[-1] = self.layer_norm(x)
        return torch.stack(states, dim=2)


class WhisperAudio(SpeechModel):
    """Features [T, 50, 384] float32: ten steps of 20 ms, five layers each, row = step * 5 + layer.

    A step's numbers depend on its whole piece of 30 s, so a window must reach a piece and a bit to
    either side; pieces that were encoded last are kept. Any threads may share one.
    """

    name = NAME
    before_s = PIECE_S + 0.1
    after_s = PIECE_S + 0.2

    def __init__(self, encoder: Encoder, shape: EncoderShape, samples: int | None = None) -> None:
        """`samples`: the recording's length, after which steps are zeros; None: not known."""
        self._encoder = encoder
        self._shape = shape
        self._samples = samples
        self._kept: OrderedDict[bytes, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def for_length(self, samples: int) -> WhisperAudio:
        """See `SpeechModel.for_length`."""
        return WhisperAudio(self._encoder, self._shape, samples)

    def features(
        self, samples: NDArray[np.float32], start_s: float, times_s: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Features [T, 50, 384]; see `SpeechModel.features`.

        `start_s` is rounded to a whole sample. Raises ValueError for a wrong shape or type, for
        values that are not finite, times that fall, or samples that do not reach far enough.
        """
        first = round(start_s * SAMPLE_RATE_HZ)
        check(self, samples, start_s, times_s)
        rows = slots(times_s)
        layers, width = self._shape.layers + 1, self._shape.width
        states = np.zeros((len(times_s), SLOTS, layers, width), np.float32)
        there = (rows >= 0) & (rows < self._last_step())
        for piece in np.unique(rows[there] // PIECE_STEPS):
            wanted = there & (rows // PIECE_STEPS == piece)
            made = self._piece(_cut(samples, int(piece) * PIECE_SAMPLES - first))
            states[wanted] = made[rows[wanted] - piece * PIECE_STEPS]
        return states.reshape(len(times_s), SLOTS * layers, width)

    def _last_step(self) -> int:
        if self._samples is None:
            return 2**62
        return self._samples * STEPS_PER_S // SAMPLE_RATE_HZ

    def _piece(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """Hidden states [1500, 5, 384] of a piece, made once while it is kept."""
        key = hashlib.blake2b(samples.data, digest_size=16).digest()
        with self._lock:
            made = self._kept.get(key)
            if made is None:
                made = self._encoded(samples)
                self._kept[key] = made
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_PIECES:
                self._kept.popitem(last=False)
        return made

    def _encoded(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            made: NDArray[np.float32] = self._encoder(log_mel(torch.from_numpy(samples))[None])[
                0
            ].numpy()
        return made


def slots(times_s: NDArray[np.float64], lead: int = LEAD_STEPS) -> NDArray[np.int64]:
    """The ten steps [T, 10] of each time: `lead` before it and the rest from it on."""
    first = np.floor(times_s * STEPS_PER_S + _ROUNDING_STEPS).astype(np.int64) - lead
    return first[:, None] + np.arange(SLOTS)


def log_mel(samples: Tensor) -> Tensor:
    """Whisper's picture [80, frames] of a piece of 30 s: log10 power in 80 Slaney bands, at most 8
    below the loudest, then (x + 4) / 4.
    """
    window = torch.hann_window(FFT)
    spectrum = torch.stft(samples, FFT, HOP, window=window, return_complex=True)[:, :-1]
    power = filterbank() @ spectrum.abs().square()
    levels = power.clamp(min=1e-10).log10()
    return (torch.maximum(levels, levels.max() - 8.0) + 4.0) / 4.0


@cache
def filterbank() -> Tensor:
    """Slaney's triangles [80, 201] from 0 to 8 kHz, each of unit area."""
    top = _mel(SAMPLE_RATE_HZ / 2)
    edges = np.array([_hz(mel) for mel in np.linspace(0.0, top, BANDS + 2)])
    bins = np.linspace(0.0, SAMPLE_RATE_HZ / 2, FFT // 2 + 1)[:, None]
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    sides = ((bins - left) / (centre - left), (right - bins) / (right - centre))
    bank = np.maximum(0.0, np.minimum(*sides)) * (2.0 / (right - left))
    return torch.from_numpy(np.ascontiguousarray(bank.T, np.float32))


def _mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ
    return _BREAK_HZ / _LINEAR_HZ + math.log(hz / _BREAK_HZ) / _LOG_STEP


def _hz(mel: float) -> float:
    knee = _BREAK_HZ / _LINEAR_HZ
    return mel * _LINEAR_HZ if mel < knee else _BREAK_HZ * math.exp(_LOG_STEP * (mel - knee))


def _cut(samples: NDArray[np.float32], begin: int) -> NDArray[np.float32]:
    """A piece's samples, the first at `begin`; a rounding's worth beyond either end is zeros."""
    piece = np.zeros(PIECE_SAMPLES, np.float32)
    low, high = max(0, begin), min(len(samples), begin + PIECE_SAMPLES)
    piece[low - begin : high - begin] = samples[low:high]
    return piece


def inventory(shape: EncoderShape) -> dict[str, tuple[int, ...]]:
    """The published tensors' names and shapes."""
    with torch.device("meta"):
        encoder = Encoder(shape)
    return {f"model.encoder.{name}": tuple(t.shape) for name, t in encoder.named_parameters()}


def make(state: Mapping[str, Tensor], where: str, shape: EncoderShape) -> WhisperAudio:
    """The model from published tensors, whose names begin "model.encoder." or "encoder.".

    Raises:
        WeightsError: a tensor is missing or has another shape.
    """
    inner = {
        key.removeprefix("model.").removeprefix("encoder."): tensor
        for key, tensor in state.items()
        if key.removeprefix("model.").startswith("encoder.")
    }
    if not inner:
        raise WeightsError(f"{where} cannot be used: it has no tensor 'model.encoder...'")
    with torch.device("meta"):
        encoder = Encoder(shape)
    fill(encoder, inner, where, torch.zeros(()))
    return WhisperAudio(encoder, shape)


def load(device: str, weights_dir: Path) -> WhisperAudio:
    """Whisper-tiny's encoder from `weights_dir`/whisper; on the CPU whatever `device` is.

    Raises:
        WeightsError: the file is missing or cannot be used.
    """
    del device
    paths = [weights_dir / name for name in FILES]
    path = next((each for each in paths if each.is_file()), paths[0])
    return make(read_weights(path), str(path), EncoderShape())
