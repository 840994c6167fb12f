"""One step of a text engine on the lane: some chunks of prompts and one decoding of all streams.

What it is not: the order of requests (engine.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from models.faults import Fault, classify
from models.lane import Priority
from models.text.base import Network, TextError
from models.text.running import Running
from models.text.sampling import Choice, choose

# How long prompts may hold up the streams that run, and the lane when none does.
_SHARED_S = 0.05
_ALONE_S = 0.25
# A shorter chunk takes hardly less time than this one.
CHUNK_MIN = 16
CHUNK_MAX = 512
CHUNK_FIRST = 128


@dataclass(frozen=True, eq=False)
class Step:
    """A unit of work for the lane; gives the number of tokens made."""

    work: Callable[[Network], int]


class StepEngine:
    """A network as an engine of the lane."""

    priority = Priority.INTERACTIVE
    max_batch = 1

    def __init__(self, name: str, network: Network) -> None:
        self.name = name
        self._network = network

    def run(self, items: Sequence[Step]) -> Sequence[int]:
        """Tokens made, per step."""
        return [step.work(self._network) for step in items]


class Pace:
    """How many tokens of prompts go into one step, from the time that earlier ones took."""

    def __init__(self) -> None:
        self._token_s = 0.0

    def budget(self, *, alone: bool) -> int:
        """Tokens for the next step; `alone`: no stream waits for it."""
        if not self._token_s:
            return CHUNK_FIRST
        tokens = (_ALONE_S if alone else _SHARED_S) / self._token_s
        size = CHUNK_MIN
        while size < CHUNK_MAX and size * 2 <= tokens:
            size *= 2
        return size

    def learn(self, tokens: int, seconds: float) -> None:
        """Note what a prefill took."""
        token_s = seconds / tokens
        self._token_s = token_s if not self._token_s else 0.8 * self._token_s + 0.2 * token_s


def cost(tokens: int) -> int:
    """What a chunk takes from the budget."""
    return max(tokens, CHUNK_MIN)


@dataclass(frozen=True)
class Plan:
    """What one step does: chunks (request, tokens), and requests that decode one token."""

    chunks: Sequence[tuple[Running, int]]
    decodes: Sequence[Running]

    @property
    def everyone(self) -> list[Running]:
        """All requests of the step."""
        return [*(running for running, _ in self.chunks), *self.decodes]


@dataclass
class Outcome:
    """What came of it; nothing in the requests has changed yet, so that a step can be repeated."""

    wrote: list[tuple[Running, int]] = field(default_factory=list)
    scores: dict[Running, Any] = field(default_factory=dict)
    choices: list[tuple[Running, Choice]] = field(default_factory=list)
    failed: list[tuple[Running, Exception]] = field(default_factory=list)


def perform(network: Network, plan: Plan, pace: Pace) -> Outcome:
    """Run a plan. A request that fails harms no other.

    Raises:
        Exception: out of memory or a dead device: the lane's to handle.
    """
    outcome = Outcome()
    for running, count in plan.chunks:
        began = time.perf_counter()
        _guard(outcome, running, partial(_prefill, network, outcome, running, count))
        pace.learn(cost(count), time.perf_counter() - began)
    if plan.decodes:
        _decode_all(network, outcome, plan.decodes)
    return outcome


def _guard(outcome: Outcome, running: Running, work: Callable[[], None]) -> bool:
    try:
        work()
    except Exception as error:
        if classify(error) is not Fault.PLAIN:
            raise
        outcome.failed.append((running, error))
        return False
    return True


def _prefill(network: Network, outcome: Outcome, running: Running, count: int) -> None:
    ids = running.chunk(count)
    logits = network.prefill(running.slot, ids, running.filled, every=running.scoring)
    if running.scoring:
        outcome.scores[running] = logits.numpy(force=True)
        logits = logits[-1]
    outcome.wrote.append((running, count))
    if count == running.pending and running.request.max_tokens:
        _choose(outcome, logits[None], [running])


def _decode_all(network: Network, outcome: Outcome, streams: Sequence[Running]) -> None:
    """All streams at once; one by one after an error, to find whose it was."""
    try:
        _decode(network, outcome, streams)
    except Exception as error:
        if classify(error) is not Fault.PLAIN:
            raise
        for running in streams:
            _guard(outcome, running, partial(_decode, network, outcome, [running]))


def _decode(network: Network, outcome: Outcome, streams: Sequence[Running]) -> None:
    slots = [running.slot for running in streams]
    ids = [running.window[running.filled] for running in streams]
    logits = network.decode(slots, ids, [running.filled for running in streams])
    _choose(outcome, logits, streams)
    outcome.wrote += [(running, 1) for running in streams]


def _choose(outcome: Outcome, logits: Any, streams: Sequence[Running]) -> None:
    choices = choose(logits, [running.chooser for running in streams])
    for running, choice in zip(streams, choices, strict=True):
        if isinstance(choice, TextError):
            outcome.failed.append((running, choice))
        else:
            outcome.choices.append((running, choice))
