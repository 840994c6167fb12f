"""The contract of text generation: configuration, tokenizer, network with a static cache, model.

What it is not: sampling or scheduling (engine.py), or file formats (checkpoints.py).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Gelu(StrEnum):
    """Which GELU a checkpoint was trained with: nanoGPT has erf; build-nanogpt and GPT-2 tanh."""

    ERF = "erf"
    TANH = "tanh"


class Precision(StrEnum):
    """How weights are kept and multiplied."""

    FP32 = "fp32"
    BF16 = "bf16"
    INT8 = "int8"


@dataclass(frozen=True)
class GptConfig:
    """The shape of a GPT-2 like network."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int
    bias: bool = True
    gelu: Gelu = Gelu.TANH


class TextError(ValueError):
    """A checkpoint, tokenizer or request cannot be used; one clear line."""


class Tokenizer(ABC):
    """Text to ids and back. `size`: ids from 0 to size - 1 exist; `eos_id` ends a text, or None."""

    size: int
    eos_id: int | None

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of a text. Special tokens inside the text are ordinary text.

        Raises:
            TextError: a character has no id (character-level tokenizers).
        """

    @abstractmethod
    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that one id stands for; they may end inside a UTF-8 character."""


@dataclass(frozen=True)
class Part:
    """Some tokens of one slot, for positions `start`.. of it (the earlier ones are there already).
    `every`: logits are wanted after each of them, not only after the last.
    """

    slot: int
    ids: Sequence[int]
    start: int
    every: bool = False


class Network(ABC):
    """A GPT with a static key/value cache of `slots` rows, each `config.block_size` long.

    Only the lane's thread calls its methods. Positions start at 0 in every slot; writing
    a position again replaces it. Logits are float32 torch tensors on the CPU or the device, ids at
    and beyond the tokenizer's size already masked to -inf.
    """

    config: GptConfig
    slots: int
    precision: Precision

    @abstractmethod
    def prefill_all(self, parts: Sequence[Part]) -> Sequence[Any]:
        """Write the ids of several slots in one pass over the weights, each slot at most once.

        Returns for each part logits [vocab] after its last id, or [len(ids), vocab] with `every`.
        """

    def prefill(self, slot: int, ids: Sequence[int], start: int, *, every: bool = False) -> Any:
        """The logits of one part."""
        return self.prefill_all([Part(slot, ids, start, every)])[0]

    @abstractmethod
    def decode(self, slots: Sequence[int], ids: Sequence[int], positions: Sequence[int]) -> Any:
        """One step for several slots: id i is written at positions[i] of slots[i]; logits
        [len(ids), vocab].
        """


@dataclass(frozen=True, eq=False)
class TextModel:
    """A loaded model under its public name. `about`: what the listing says (format, parameters)."""

    name: str
    network: Network
    tokenizer: Tokenizer
    created_at: float
    about: dict[str, Any] = field(default_factory=dict)
