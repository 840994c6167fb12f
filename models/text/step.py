"""One step of a text engine on the lane: some chunks of prompts and one decoding of all streams.

What it is not: the order of requests (engine.py).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from models.faults import Fault, classify
from models.lane import Priority
from models.text.base import Network, Part, TextError
from models.text.running import Running
from models.text.sampling import Choice, choose

# How long prompts may hold up the streams that run, and the lane when none does. See `allowance`.
SHARED_S = 0.05
ALONE_S = 0.25
# A shorter chunk takes hardly less time than this one.
CHUNK_MIN = 16
CHUNK_MAX = 512
CHUNK_FIRST = 128
# A chunk of twice the tokens is first taken to need 1.5 times as long.
_GROWTH = math.log2(1.5)
_FADE = 0.98


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


def allowance(prompts: int, streams: int) -> float:
    """Seconds that prompts may take in a step while so many streams run: the longer, the more of
    them wait for each stream that they hold up.
    """
    if not streams:
        return ALONE_S
    return min(ALONE_S, SHARED_S * max(1.0, prompts / streams))


class Pace:
    """How many tokens of prompts go into one step, from the time that earlier chunks took.

    Times are kept per size: a short chunk reads all weights as a long one does, so a time per
    token would make chunks ever shorter. A chunk may be made of several prompts.
    """

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}

    def fit(self, pending: int, left_s: float) -> int:
        """Tokens of prompts for which the time is enough; at least a short chunk, and at most
        twice as many as were tried before.
        """
        if not self._seconds:
            return min(pending, CHUNK_FIRST)
        size, most = CHUNK_MIN, min(CHUNK_MAX, 2 * max(self._seconds))
        while size < min(pending, most) and self.guess(size * 2) <= left_s:
            size *= 2
        return min(pending, size)

    def guess(self, tokens: int) -> float:
        """Seconds that a chunk will take."""
        if not self._seconds:
            return SHARED_S
        size = _bucket(tokens)
        near = min(self._seconds, key=lambda known: abs(math.log2(known / size)))
        ratio = size / near
        return self._seconds[near] * (ratio**_GROWTH if ratio > 1 else ratio)

    def learn(self, tokens: int, seconds: float) -> None:
        """Note what a chunk took. The others fade, so that a size that was slow once is tried
        again.
        """
        size = _bucket(tokens)
        self._seconds = {known: value * _FADE for known, value in self._seconds.items()}
        before = self._seconds.get(size, seconds)
        weight = 0.5 if seconds < before else 0.2
        self._seconds[size] = before + weight * (seconds - before)


def _bucket(tokens: int) -> int:
    """The size a chunk is counted as: the next power of two."""
    return min(CHUNK_MAX, max(CHUNK_MIN, 1 << (tokens - 1).bit_length()))


#: A request and how many of its tokens the network reads next.
Chunk = tuple[Running, int]


@dataclass(frozen=True)
class Plan:
    """What one step does: chunks (request, tokens) that are read together, and requests that
    decode one token.
    """

    chunks: Sequence[Chunk]
    decodes: Sequence[Running]

    @property
    def everyone(self) -> list[Running]:
        """All requests of the step."""
        return [*(running for running, _ in self.chunks), *self.decodes]


@dataclass
class Outcome:
    """What came of it; nothing in the requests has changed yet, so that a step can be repeated."""

    wrote: list[Chunk] = field(default_factory=list)
    prompt_tokens: int = 0
    scores: dict[Running, Any] = field(default_factory=dict)
    choices: list[tuple[Running, Choice]] = field(default_factory=list)
    failed: list[tuple[Running, Exception]] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Take in what came of a part of the step."""
        self.wrote += other.wrote
        self.prompt_tokens += other.prompt_tokens
        self.scores.update(other.scores)
        self.choices += other.choices
        self.failed += other.failed


def perform(network: Network, plan: Plan, pace: Pace) -> Outcome:
    """Run a plan. A request that fails harms no other.

    Raises:
        Exception: out of memory or a dead device: the lane's to handle.
    """
    outcome = Outcome()
    if plan.chunks:
        began = time.perf_counter()
        _together(outcome, plan.chunks, partial(_prefill, network))
        tokens = sum(count for _, count in plan.chunks)
        pace.learn(tokens, time.perf_counter() - began)
    if plan.decodes:
        _together(outcome, [(running, 1) for running in plan.decodes], partial(_decode, network))
    return outcome


def _together(
    outcome: Outcome, chunks: Sequence[Chunk], work: Callable[[Outcome, Sequence[Chunk]], None]
) -> None:
    """All at once; one by one after an error, to find whose it was."""
    found = Outcome()
    try:
        work(found, chunks)
    except Exception as error:
        if classify(error) is not Fault.PLAIN:
            raise
        if len(chunks) == 1:
            outcome.failed.append((chunks[0][0], error))
            return
        for chunk in chunks:
            _together(outcome, [chunk], work)
    else:
        outcome.add(found)


def _prefill(network: Network, outcome: Outcome, chunks: Sequence[Chunk]) -> None:
    parts = [
        Part(running.slot, running.chunk(count), running.filled, running.scoring)
        for running, count in chunks
    ]
    for (running, count), logits in zip(chunks, network.prefill_all(parts), strict=True):
        after = logits
        if running.scoring:
            outcome.scores[running] = logits.numpy(force=True)
            after = logits[-1]
        if count == running.pending and running.request.max_tokens:
            _choose(outcome, after[None], [running])
        outcome.wrote.append((running, count))
        outcome.prompt_tokens += count


def _decode(network: Network, outcome: Outcome, chunks: Sequence[Chunk]) -> None:
    streams = [running for running, _ in chunks]
    slots = [running.slot for running in streams]
    ids = [running.window[running.filled] for running in streams]
    logits = network.decode(slots, ids, [running.filled for running in streams])
    _choose(outcome, logits, streams)
    outcome.wrote += chunks


def _choose(outcome: Outcome, logits: Any, streams: Sequence[Running]) -> None:
    choices = choose(logits, [running.chooser for running in streams])
    for running, choice in zip(streams, choices, strict=True):
        if isinstance(choice, TextError):
            outcome.failed.append((running, choice))
        else:
            outcome.choices.append((running, choice))
