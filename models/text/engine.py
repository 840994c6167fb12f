"""The text engine: requests join and leave between the steps of one network.

What it is not: a thread. Each step runs on the lane and queues the next one before it ends, so that
the lane's priorities decide what comes between two tokens, and no time passes in handing over.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import structlog

from models.text.base import Network, TextError, TextModel
from models.text.request import (
    EngineStoppedError,
    Finish,
    QueueFullError,
    TextRequest,
    TextStream,
)
from models.text.running import Limits, Running
from models.text.sampling import Choice
from models.text.step import Chunk, Outcome, Pace, Plan, Step, StepEngine, allowance, perform

__all__ = ["EventKind", "StepEngine", "TextEngine", "TextEvent", "TextStats"]

_log = structlog.get_logger("models.text.engine")


class EventKind(StrEnum):
    """What an engine tells of."""

    STEP = "step"
    FIRST = "first"
    END = "end"


@dataclass(frozen=True)
class TextEvent:
    """STEP: tokens made in `seconds`; FIRST: a text's first token, `seconds` after the request;
    END: a text of `tokens` after `seconds`, with its reason.
    """

    kind: EventKind
    model: str
    tokens: int = 0
    seconds: float = 0.0
    finish: Finish | None = None


@dataclass
class TextStats:
    """Sums since the start, and the state now. `first_token_s`: sum over `first_tokens` texts.

    The engine counts in one of its own and hands out copies.
    """

    requests: int = 0
    tokens: int = 0
    prefill_tokens: int = 0
    steps: int = 0
    first_tokens: int = 0
    first_token_s: float = 0.0
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    active: int = 0
    waiting: int = 0


class TextEngine:
    """Continuous batching over one network. `generate`, `stats` and `stop` are thread-safe."""

    def __init__(
        self,
        model: TextModel,
        submit: Callable[[Step], Future[Any]],
        max_queue: int = 64,
        on_event: Callable[[TextEvent], None] = lambda event: None,
    ) -> None:
        """Make an engine.

        Args:
            model: the model; only steps on the lane touch its network.
            submit: queues a step on the lane; must not run it in the calling thread.
            max_queue: requests that may wait when all slots are taken.
            on_event: told of steps, first tokens and ends, on the lane's thread mostly.
        """
        self._model = model
        self._submit = submit
        self._max_queue = max_queue
        self._on_event = on_event
        self._limits = Limits(model.network.config.block_size, model.tokenizer.eos_id)
        self._changed = threading.Condition(threading.RLock())
        self._open = False
        self._queued = False
        self._waiting: deque[Running] = deque()
        self._active: dict[int, Running] = {}
        self._free = list(range(model.network.slots))
        self._doing: list[Running] = []
        self._pace = Pace()
        self._sums = TextStats()

    def start(self) -> None:
        """Begin to take requests."""
        self._open = True

    def generate(self, request: TextRequest) -> TextStream:
        """Queue a request; its stream is filled from the next steps on.

        Raises:
            TextError: the request does not fit the model.
            QueueFullError: too many wait.
            EngineStoppedError: the engine takes no requests.
        """
        self._check(request)
        stream = TextStream(self._wake)
        running = Running(request, stream, self._model.tokenizer, self._limits)
        running.since_s = running.due_s = time.monotonic()
        with self._changed:
            if not self._open:
                raise EngineStoppedError(f"model {self._model.name!r} takes no requests now")
            waiting = len(self._waiting) - len(self._free)
            if waiting >= self._max_queue:
                raise QueueFullError(max(waiting, 0), self._max_queue)
            self._waiting.append(running)
            self._sums.requests += 1
        self._wake()
        return stream

    def stats(self) -> TextStats:
        """The figures."""
        with self._changed:
            return replace(self._sums, active=len(self._active), waiting=len(self._waiting))

    def stop(self, timeout_s: float = 10.0) -> None:
        """Take no more requests; let the others finish within the time, then cancel them."""
        with self._changed:
            self._open = False
            self._changed.wait_for(lambda: not (self._active or self._waiting), timeout_s)
            for running in [*self._active.values(), *self._waiting]:
                self._end(running, Finish.CANCELLED)
            self._waiting.clear()

    def _check(self, request: TextRequest) -> None:
        """Refuse ids that the model does not have."""
        tokenizer = self._model.tokenizer
        size = min(tokenizer.size, self._model.network.config.vocab_size)
        named = (("prompt", request.prompt_ids), ("logit_bias", request.logit_bias))
        for name, ids in named:
            wrong = next((token_id for token_id in ids if not 0 <= token_id < size), None)
            if wrong is not None:
                raise TextError(f"token id {wrong} in {name}; model has ids 0 to {size - 1}")
        if not request.prompt_ids and tokenizer.eos_id is None:
            raise TextError("the prompt is empty, and this model has no token to start a text with")

    # Steps

    def _wake(self) -> None:
        """See to it that a step is on its way while there is work."""
        with self._changed:
            if self._queued or not (self._active or self._waiting):
                return
            self._queued = True
        self._send()

    def _send(self) -> None:
        try:
            future = self._submit(Step(self._round))
        except Exception as error:  # noqa: BLE001 - border of the engine: the streams carry it on
            self._abandon(error)
        else:
            future.add_done_callback(self._after)

    def _round(self, network: Network) -> int:
        """One step, on the lane's thread."""
        began = time.monotonic()
        plan = self._plan()
        self._doing = plan.everyone
        outcome = perform(network, plan, self._pace)
        with self._changed:
            self._commit(outcome)
        self._doing = []
        tokens = len(outcome.choices)
        self._tell(EventKind.STEP, tokens, time.monotonic() - began)
        self._go_on()
        return tokens

    def _go_on(self) -> None:
        with self._changed:
            self._queued = bool(self._active or self._waiting)
            queued = self._queued
        if queued:
            self._send()

    def _after(self, future: Future[Any]) -> None:
        """A step is done: only one that failed needs to be looked at."""
        error = None if future.cancelled() else future.exception()
        if error is None and not future.cancelled():
            return
        failed, self._doing = self._doing, []
        if not failed:
            self._abandon(error or RuntimeError("the step was cancelled"))
            return
        _log.error("a step failed", model=self._model.name, texts=len(failed), error=str(error))
        for running in failed:
            self._end(running, Finish.ERROR, _say(error))
        self._go_on()

    def _abandon(self, error: BaseException) -> None:
        """No step can be made: every text fails."""
        _log.error("no step can be made", model=self._model.name, error=str(error))
        with self._changed:
            everyone = [*self._active.values(), *self._waiting]
            self._waiting.clear()
            self._queued = False
            for running in everyone:
                self._end(running, Finish.ERROR, _say(error))

    def _plan(self) -> Plan:
        """Let go of cancelled requests, admit waiting ones, share out the step."""
        with self._changed:
            self._sweep()
            self._admit()
            active = sorted(self._active.values(), key=lambda running: running.due_s)
        decodes = [running for running in active if running.decodes]
        prompts = [running for running in active if not running.decodes]
        left_s = allowance(len(prompts), len(decodes))
        return Plan(self._chunks(prompts, left_s) if prompts else [], decodes)

    def _chunks(self, prompts: list[Running], left_s: float) -> list[Chunk]:
        """Parts of prompts, the longest due first, that are read together in about this time."""
        left = self._pace.fit(sum(running.pending for running in prompts), left_s)
        chunks: list[Chunk] = []
        for running in prompts:
            count = min(running.pending, left)
            left -= count
            if count:
                chunks.append((running, count))
        return chunks

    def _sweep(self) -> None:
        for running in [*self._active.values(), *self._waiting]:
            if running.stream.cancelled:
                self._end(running, Finish.CANCELLED)
        self._waiting = deque(running for running in self._waiting if not running.done)

    def _admit(self) -> None:
        """First come, first served; the lowest free slot, so that batches lie close together."""
        while self._free and self._waiting:
            running = self._waiting.popleft()
            if running.request.max_tokens == 0 and not running.scoring:
                self._end(running, Finish.LENGTH)
                continue
            running.slot = heapq.heappop(self._free)
            self._active[running.slot] = running

    def _commit(self, outcome: Outcome) -> None:
        """Write down what a step did, and tell the streams."""
        for running, error in outcome.failed:
            self._end(running, Finish.ERROR, _say(error))
        for running, rows in outcome.scores.items():
            running.score(rows)
        for running, count in outcome.wrote:
            running.wrote(count)
        self._sums.steps += 1
        self._sums.prefill_tokens += outcome.prompt_tokens
        for running, choice in outcome.choices:
            self._sums.tokens += 1
            try:
                self._accept(running, choice)
            except Exception as error:  # noqa: BLE001 - border of a request: its stream carries it
                self._end(running, Finish.ERROR, _say(error))
        for running, _ in outcome.wrote:
            if running.request.max_tokens == 0 and running.pending == 0:
                self._end(running, Finish.LENGTH)

    def _accept(self, running: Running, choice: Choice) -> None:
        finish = running.accept(choice)
        self._note_first(running)
        if finish is None:
            running.tell()
        else:
            self._end(running, finish)

    def _note_first(self, running: Running) -> None:
        if running.made == 1:
            seconds = time.monotonic() - running.since_s
            self._sums.first_tokens += 1
            self._sums.first_token_s += seconds
            self._tell(EventKind.FIRST, 1, seconds)

    def _end(self, running: Running, finish: Finish, error: str = "") -> None:
        """End a text once, and free its slot."""
        with self._changed:
            if running.done:
                return
            running.end(finish, error)
            if running.slot >= 0:
                del self._active[running.slot]
                heapq.heappush(self._free, running.slot)
            self._sums.finished += finish in (Finish.STOP, Finish.LENGTH)
            self._sums.cancelled += finish is Finish.CANCELLED
            self._sums.failed += finish is Finish.ERROR
            self._changed.notify_all()
        seconds = time.monotonic() - running.since_s
        self._tell(EventKind.END, running.made, seconds, finish)

    def _tell(
        self, kind: EventKind, tokens: int, seconds: float, finish: Finish | None = None
    ) -> None:
        self._on_event(TextEvent(kind, self._model.name, tokens, seconds, finish))


def _say(error: BaseException | None) -> str:
    """The text of an error for the stream."""
    if isinstance(error, TextError):
        return str(error)
    return f"the text could not be made: {type(error).__name__}: {error}"
