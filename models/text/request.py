"""What goes into the engine and what comes out: a request, its pieces of text, the stream of them.

What it is not: the engine (engine.py), or an HTTP shape. Imports neither torch nor numpy, so that
the HTTP side can use it before any model is loaded.
"""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType

from models.text.base import TextError

PENALTY_MAX = 2.0
BIAS_MAX = 100.0


class Finish(StrEnum):
    """Why a text ended."""

    STOP = "stop"
    LENGTH = "length"
    CANCELLED = "cancelled"
    ERROR = "error"


class QueueFullError(RuntimeError):
    """No more requests can wait. `waiting` of `limit` places are taken."""

    def __init__(self, waiting: int, limit: int) -> None:
        super().__init__(f"{waiting} requests wait already; at most {limit} may: try again later")
        self.waiting = waiting
        self.limit = limit


class EngineStoppedError(RuntimeError):
    """The engine is not started or was stopped."""


@dataclass(frozen=True)
class TextRequest:
    """One text to be made. For n > 1 make several requests with different seeds.

    Args:
        prompt_ids: the prompt; empty means the tokenizer's end-of-text id, where it has one.
        max_tokens: new tokens at most; 0 only makes sense with `echo`.
        temperature: 0 takes the likeliest token; else logits are divided by it.
        top_k: keep tokens that reach the k-th largest logit (ties stay, as in nanoGPT); None: all.
        top_p: then keep the likeliest tokens that together reach this probability.
        seed: the same seed gives the same text, whatever else runs; None: a fresh one.
        stop: strings that end the text; they are not part of it.
        stop_ids: tokens that end the text, beside the tokenizer's end-of-text id.
        presence_penalty, frequency_penalty: -2 to 2, as OpenAI defines them; new tokens count, the
            prompt does not.
        logit_bias: added to the logits of these ids, -100 to 100.
        logprobs: None: none; n: those of each token and of the n likeliest at its place.
        echo: the text starts with the prompt.
        ignore_eos: the end-of-text id does not end the text.
        exact_window: past block_size, run the last block_size tokens anew for every token, as
            nanoGPT does (slow); else the older half is dropped when the block is full.
        stream: False hands over one piece, at the end.

    Raises:
        TextError: a value is out of range.
    """

    prompt_ids: tuple[int, ...]
    max_tokens: int = 100
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    echo: bool = False
    ignore_eos: bool = False
    exact_window: bool = False
    stream: bool = True

    def __post_init__(self) -> None:
        _need("max_tokens", self.max_tokens, self.max_tokens >= 0, "0 or more")
        good = math.isfinite(self.temperature) and self.temperature >= 0
        _need("temperature", self.temperature, good, "0 or more")
        _need("top_k", self.top_k, self.top_k is None or self.top_k >= 1, "1 or more, or null")
        _need("top_p", self.top_p, 0 < self.top_p <= 1, "above 0, up to 1")
        for name in ("presence_penalty", "frequency_penalty"):
            value = getattr(self, name)
            _need(name, value, abs(value) <= PENALTY_MAX, "-2 to 2")
        _need("logprobs", self.logprobs, self.logprobs is None or self.logprobs >= 0, "0 or more")
        _need("stop", list(self.stop), all(self.stop), "strings that are not empty")
        for token_id, bias in self.logit_bias.items():
            _need(f"logit_bias of {token_id}", bias, abs(bias) <= BIAS_MAX, "-100 to 100")


def _need(name: str, value: object, good: bool, allowed: str) -> None:
    if not good:
        raise TextError(f"{name} is {value!r}; allowed: {allowed}")


@dataclass(frozen=True)
class TokenLogprob:
    """One token of the text. `offset`: characters of the text (with the echoed prompt) before it.

    `text`: what it adds, or `bytes:\\xe2\\x80` where its bytes are not whole characters. `logprob`:
    natural logarithm, None for the first token of a prompt; of the distribution with penalties and
    bias, before temperature, top_k and top_p. `top`: the likeliest (text, logprob) at its place,
    and the token itself where it is not one of them.
    """

    token_id: int
    text: str
    offset: int
    logprob: float | None
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class TextPiece:
    """What a stream gives. `tokens`: new tokens so far; `error`: what failed, for Finish.ERROR.

    The piece with a `finish_reason` is the last one. `text` may be empty.
    """

    text: str
    tokens: int
    finish_reason: Finish | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    error: str = ""


class TextStream:
    """The pieces of one text, as they are made. One reader; the engine writes.

    Iterating waits natively: under gevent use `poll(0)` between sleeps instead. As a context
    manager it cancels what is not finished.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        """`wake` is called by `cancel`, so that the engine looks."""
        self._pieces: queue.SimpleQueue[TextPiece] = queue.SimpleQueue()
        self._wake = wake
        self._lock = threading.Lock()
        self._ended = False
        self._read_all = False
        self.cancelled = False

    def cancel(self) -> None:
        """Stop making the text; its slot is free from the next step on. Safe to call twice."""
        if not (self.cancelled or self._ended):
            self.cancelled = True
            self._wake()

    @property
    def finished(self) -> bool:
        """Whether the last piece was read."""
        return self._read_all

    def poll(self, timeout_s: float = 0.0) -> TextPiece | None:
        """The next piece, or None when there is none within the time, or none any more."""
        if self._read_all:
            return None
        try:
            piece = self._pieces.get(timeout_s > 0, timeout_s if timeout_s > 0 else None)
        except queue.Empty:
            return None
        self._read_all = piece.finish_reason is not None
        return piece

    def __iter__(self) -> Iterator[TextPiece]:
        while not self._read_all:
            piece = self._pieces.get()
            self._read_all = piece.finish_reason is not None
            yield piece

    def __enter__(self) -> TextStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    # The engine's side

    def put(self, piece: TextPiece) -> bool:
        """Add a piece; False when the stream had ended already and the piece is dropped."""
        with self._lock:
            if self._ended:
                return False
            self._ended = piece.finish_reason is not None
        self._pieces.put(piece)
        return True
