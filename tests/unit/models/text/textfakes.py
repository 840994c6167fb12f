"""A small network whose logits are a fixed function of all tokens before, a byte tokenizer, and
the plain loop that the engine must agree with.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

import numpy as np
import torch

from models.lane import Lane
from models.text.base import GptConfig, Network, Part, Precision, TextModel, Tokenizer
from models.text.engine import StepEngine, TextEngine, TextEvent
from models.text.request import TextPiece, TextRequest, TextStream

VOCAB = 260
EOS = 256
BLOCK = 16
WAIT_S = 10.0


class ByteTokenizer(Tokenizer):
    """One id per byte, then the end of text."""

    size = 257
    eos_id: int | None = EOS

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def token_bytes(self, token_id: int) -> bytes:
        return b"<|end|>" if token_id == EOS else bytes([token_id])


def logits_after(context: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What the fake network says after these tokens; ids without a token are masked."""
    seed = 7
    for place, token_id in enumerate(context):
        seed = (seed * 31 + token_id * 131 + place) % (2**31)
    row = np.random.default_rng(seed).standard_normal(VOCAB).astype(np.float32) * 3
    row[ByteTokenizer.size :] = -np.inf
    return row


class FakeNetwork(Network):
    """Keeps the tokens of each slot as its cache, and notices gaps and overruns.

    `scripts`: what follows a whole context, instead of chance. `rule` is told of each call and may
    raise.
    """

    def __init__(self, slots: int = 4, block: int = BLOCK) -> None:
        self.config = GptConfig(1, 1, 8, block, VOCAB)
        self.slots = slots
        self.precision = Precision.FP32
        self.cache: list[list[int]] = [[] for _ in range(slots)]
        self.after: Callable[[Sequence[int]], Any] = logits_after
        self.rule: Callable[[str, list[int]], None] = lambda kind, ids: None
        self.prefills: list[tuple[int, int, int]] = []
        self.packs: list[int] = []
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()

    def prefill_all(self, parts: Sequence[Part]) -> Sequence[Any]:
        assert self.gate.wait(WAIT_S)
        assert len({part.slot for part in parts}) == len(parts) > 0
        self.rule("prefill", [token_id for part in parts for token_id in part.ids])
        self.packs.append(sum(len(part.ids) for part in parts))
        return [self._prefill(part) for part in parts]

    def _prefill(self, part: Part) -> Any:
        self.prefills.append((part.slot, part.start, len(part.ids)))
        rows = [self._write(part.slot, *row) for row in zip(part.ids, count(part.start))]
        return torch.from_numpy(np.stack(rows)) if part.every else torch.from_numpy(rows[-1])

    def decode(self, slots: Sequence[int], ids: Sequence[int], positions: Sequence[int]) -> Any:
        assert self.gate.wait(WAIT_S)
        self.rule("decode", list(ids))
        self.batches.append(list(slots))
        assert len(set(slots)) == len(slots) == len(ids) == len(positions)
        rows = [self._write(*row) for row in zip(slots, ids, positions, strict=True)]
        return torch.from_numpy(np.stack(rows))

    def _write(self, slot: int, token_id: int, position: int) -> Any:
        cache = self.cache[slot]
        assert position <= len(cache), "a gap in the cache"
        assert position < self.config.block_size, "past the block"
        del cache[position:]
        cache.append(token_id)
        return self.after(cache)


class Desk:
    """An engine on a real lane, with its fake network."""

    def __init__(self, network: Network | None = None, max_queue: int = 8) -> None:
        self.network = network if network is not None else FakeNetwork()
        self.events: list[TextEvent] = []
        self.model = TextModel("fake", self.network, ByteTokenizer(), 0.0)
        self.lane = Lane([StepEngine("text", self.network)])
        self.lane.start()
        self.engine = TextEngine(
            self.model, lambda step: self.lane.submit("text", step), max_queue, self.events.append
        )
        self.engine.start()

    @property
    def fake(self) -> FakeNetwork:
        assert isinstance(self.network, FakeNetwork)
        return self.network

    def ask(self, prompt: str = "ab", **fields: Any) -> TextStream:
        return self.engine.generate(TextRequest(tuple(prompt.encode()), **fields))

    def close(self) -> None:
        self.fake.gate.set()
        self.engine.stop(0.0)
        self.lane.stop()


def read(stream: TextStream) -> list[TextPiece]:
    """All pieces, or a failure when they do not come."""
    pieces: list[TextPiece] = []
    while not stream.finished:
        piece = stream.poll(WAIT_S)
        assert piece is not None, "no piece came"
        pieces.append(piece)
    return pieces


def text_of(stream: TextStream) -> str:
    """The whole text."""
    return "".join(piece.text for piece in read(stream))


def greedy(
    prompt: Sequence[int], count: int, window: Callable[[list[int]], list[int]]
) -> list[int]:
    """The plain loop: the likeliest token after a window of all tokens, `count` times."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(logits_after(window(tokens)).argmax()))
    return tokens[len(prompt) :]


def speak(text: bytes) -> Callable[[Sequence[int]], Any]:
    """A network that says `text` after whatever prompt ends with 0x01, and then the end."""

    def after(context: Sequence[int]) -> Any:
        said = len(context) - 1 - max((i for i, t in enumerate(context) if t == 1), default=0)
        row = np.zeros(VOCAB, dtype=np.float32)
        row[text[said] if said < len(text) else EOS] = 9.0
        return row

    return after


def shown(tokens: Sequence[int]) -> str:
    """The text of tokens."""
    data = b"".join(map(ByteTokenizer().token_bytes, tokens))
    return data.decode("utf-8", "replace")


def whole(tokens: list[int]) -> list[int]:
    """The window of a network that sees everything."""
    return tokens


def until(true: Callable[[], bool]) -> None:
    """Wait for a condition of another thread."""
    end = time.monotonic() + WAIT_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)
