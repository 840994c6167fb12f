"""From logits to the next token, for a whole batch: temperature, top_k, top_p, penalties, bias,
log-probabilities.

What it is not: the network. Works in numpy on the host; on a device only the few logits that count
are brought over, where the requests allow it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.text.base import TextError
from models.text.request import TextRequest

Row = NDArray[np.float32]
Ids = NDArray[np.intp]

# Logits are first looked at by the maximum of groups of this many: 16 rows of 50257 take 0.2 ms,
# where torch.topk takes 1.2 ms.
_GROUP = 64
# Candidates beyond top_k that are fetched from a device, for ties at the edge.
_TIES = 64
_FETCH_MAX = 512
# The likeliest tokens that are looked at first for top_p.
_NEAR = 512
# Below this temperature the likeliest token is taken: the others' weights are no numbers any more.
COLDEST = 1e-4
# What OpenAI's API says for a token that cannot come.
_NEVER = -9999.0


@dataclass(frozen=True)
class Choice:
    """A token, and its log-probabilities where they were asked for (`top`: likeliest first)."""

    token_id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Chooser:
    """How one request picks its tokens: its settings, its random numbers, what it said so far."""

    def __init__(self, request: TextRequest) -> None:
        self.temperature = request.temperature
        self.top_k = request.top_k
        self.top_p = request.top_p
        self.logprobs = request.logprobs
        # Random takes the absolute value of a negative seed.
        seed = None if request.seed is None else request.seed % 2**64
        self._random = random.Random(seed)  # noqa: S311 - sampling, not a secret
        self._presence = request.presence_penalty
        self._frequency = request.frequency_penalty
        self._bias_ids = np.fromiter(request.logit_bias.keys(), dtype=np.intp)
        self._bias = np.fromiter(request.logit_bias.values(), dtype=np.float32)
        self._said: Counter[int] = Counter()
        self.punishes = bool(self._presence or self._frequency)
        self.whole = self.punishes or bool(self._bias_ids.size) or self.logprobs is not None

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken."""
        return self.temperature < COLDEST

    def draw(self) -> float:
        """The next random number of this request, in [0, 1)."""
        return self._random.random()

    def say(self, token_id: int) -> None:
        """Count a chosen token for the penalties."""
        if self.punishes:
            self._said[token_id] += 1

    def adjust(self, row: Row) -> Row:
        """A row with bias and penalties; the given row itself where there are none."""
        if not (self._bias_ids.size or self._said):
            return row
        row = row.copy()
        row[self._bias_ids] += self._bias
        if self._said:
            ids = np.fromiter(self._said.keys(), dtype=np.intp)
            counts = np.fromiter(self._said.values(), dtype=np.float32)
            row[ids] -= self._frequency * counts + self._presence
        return row


def choose(logits: Any, choosers: Sequence[Chooser]) -> list[Choice | TextError]:
    """One token per row of logits [rows, vocab] (a torch tensor of any device).

    A row that holds no number gives an error for that row alone.
    """
    if logits.device.type != "cpu" and not any(chooser.whole for chooser in choosers):
        narrow = _fetch(logits, choosers)
        if narrow is not None:
            values, ids = narrow
            rows = enumerate(choosers)
            return [_settle(_pick_narrow, values[i], ids[i], chooser) for i, chooser in rows]
    return choose_host(logits.numpy(force=True), choosers)


def choose_host(logits: Row, choosers: Sequence[Chooser]) -> list[Choice | TextError]:
    """The same for logits on the host."""
    if all(chooser.greedy and not chooser.whole for chooser in choosers):
        best = logits.argmax(axis=1)
        tops = logits[np.arange(len(best)), best]
        fine = np.isfinite(tops)
        return [
            Choice(int(token_id)) if good else _no_number()
            for token_id, good in zip(best, fine, strict=True)
        ]
    return [_settle(_pick, row, chooser) for row, chooser in zip(logits, choosers, strict=True)]


def logprobs_of(row: Row, token_id: int, count: int) -> tuple[float, tuple[tuple[int, float], ...]]:
    """Log-probability of one token, and the `count` likeliest (id, logprob), likeliest first."""
    top = row.max()
    shift = float(top) + float(np.log(np.exp(row - top).sum(dtype=np.float64)))
    best: tuple[tuple[int, float], ...] = ()
    if count > 0:
        ids = reaching(row, count)
        order = ids[np.argsort(-row[ids], kind="stable")][:count]
        best = tuple((int(i), max(float(row[i]) - shift, _NEVER)) for i in order)
    return max(float(row[token_id]) - shift, _NEVER), best


def reaching(row: Row, k: int) -> Ids:
    """Ids, ascending, of the logits that reach the k-th largest; ties stay, so more can come."""
    if k >= row.size:
        return np.arange(row.size)
    groups = row.size // _GROUP
    if k <= groups:
        # k groups hold a logit that reaches this floor, so the k-th largest is not below it.
        maxima = row[: groups * _GROUP].reshape(_GROUP, groups).max(axis=0)
        floor = np.partition(maxima, groups - k)[groups - k]
        ids = np.flatnonzero(row >= floor)
    else:
        ids = np.arange(row.size)
    values = row[ids]
    edge = np.partition(values, ids.size - k)[ids.size - k]
    kept: Ids = ids[values >= edge]
    return kept


def weights(row: Row, ids: Ids, temperature: float) -> NDArray[np.float64]:
    """Probabilities of these ids among themselves."""
    values = row[ids].astype(np.float64)
    raised = np.exp((values - values.max()) / temperature)
    return np.asarray(raised / raised.sum())


def nucleus(share: NDArray[np.float64], top_p: float) -> Ids:
    """Places, ascending, of the likeliest that together reach `top_p`; at least one. Of equals
    the first ones.
    """
    falling = np.sort(share)[::-1]
    count = min(int(np.searchsorted(np.cumsum(falling), top_p)) + 1, share.size)
    edge = falling[count - 1]
    above = np.flatnonzero(share > edge)
    ties = np.flatnonzero(share == edge)[: count - above.size]
    return np.sort(np.concatenate((above, ties)))


def _settle(pick: Any, *arguments: Any) -> Choice | TextError:
    try:
        choice: Choice = pick(*arguments)
    except TextError as error:
        return error
    return choice


def _pick(row: Row, chooser: Chooser) -> Choice:
    row = chooser.adjust(row)
    best = int(row.argmax())
    if not np.isfinite(row[best]):
        raise _no_number()
    token_id = best if chooser.greedy else _sample(row, chooser)
    if chooser.logprobs is None:
        return Choice(token_id)
    return Choice(token_id, *logprobs_of(row, token_id, chooser.logprobs))


def _sample(row: Row, chooser: Chooser) -> int:
    if chooser.top_k is not None:
        return _draw(row, reaching(row, chooser.top_k), chooser)
    if chooser.top_p < 1.0:
        return _draw_nucleus(row, chooser)
    return _draw_all(row, chooser)


def _draw(row: Row, ids: Ids, chooser: Chooser) -> int:
    """Draw among some ids. In the order of ids, so that a rounding error moves no one else."""
    share = weights(row, ids, chooser.temperature)
    if chooser.top_p < 1.0:
        kept = nucleus(share, chooser.top_p)
        ids, share = ids[kept], share[kept]
    return int(ids[_place(share, chooser.draw())])


def _draw_nucleus(row: Row, chooser: Chooser) -> int:
    """Draw among the likeliest of all ids; sorting all of them is the last resort."""
    raised = _raised(row, chooser.temperature)
    total = raised.sum(dtype=np.float64)
    for count in (_NEAR, row.size):
        ids = reaching(row, count)
        share = raised[ids].astype(np.float64) / total
        if share.sum() >= chooser.top_p:
            break
    kept = nucleus(share, chooser.top_p)
    return int(ids[kept][_place(share[kept], chooser.draw())])


def _raised(row: Row, temperature: float) -> Row:
    """exp of the logits over the temperature, the largest being 1."""
    raised: Row = np.exp((row - row.max()) / np.float32(temperature))
    return raised


def _draw_all(row: Row, chooser: Chooser) -> int:
    """Draw among all ids: first a group of neighbours, then one of it."""
    raised = _raised(row, chooser.temperature)
    sums = np.add.reduceat(raised, np.arange(0, row.size, _GROUP)).astype(np.float64)
    ends = np.cumsum(sums)
    goal = chooser.draw() * ends[-1]
    group = _landing(sums, ends, goal)
    first = group * _GROUP
    inside = raised[first : first + _GROUP].astype(np.float64)
    goal -= ends[group] - sums[group]
    return first + _landing(inside, np.cumsum(inside), goal)


def _landing(share: NDArray[np.float64], ends: NDArray[np.float64], goal: float) -> int:
    """The place whose part of the cumulated shares holds `goal`; never one with a share of 0."""
    place = int(np.searchsorted(ends, max(goal, 0.0), side="right"))
    return place if place < share.size else int(np.flatnonzero(share)[-1])


def _place(share: NDArray[np.float64], draw: float) -> int:
    """Where `draw`, of [0, 1), falls in the cumulated shares."""
    ends = np.cumsum(share)
    return _landing(share, ends, draw * float(ends[-1]))


def _fetch(logits: Any, choosers: Sequence[Chooser]) -> tuple[Row, Ids] | None:
    """The largest logits of each row and their ids; None when a request needs all of them."""
    kept = [1 if chooser.greedy else chooser.top_k for chooser in choosers]
    most = max((k or _FETCH_MAX + 1) for k in kept)
    if most > _FETCH_MAX:
        return None
    if most == 1:
        values, ids = logits.max(dim=1, keepdim=True)
    else:
        values, ids = logits.topk(min(most + _TIES, logits.shape[1]), dim=1)
    return values.numpy(force=True), ids.numpy(force=True)


def _pick_narrow(values: Row, ids: Ids, chooser: Chooser) -> Choice:
    """Pick among fetched logits, largest first."""
    if not np.isfinite(values[0]):
        raise _no_number()
    if chooser.greedy:
        return Choice(int(ids[values == values[0]].min()))
    order = np.argsort(ids)
    values, ids = values[order], ids[order]
    kept = reaching(values, chooser.top_k or 1)
    return Choice(int(ids[_draw(values, kept, chooser)]))


def _no_number() -> TextError:
    return TextError("the network's output holds no finite number for this text")
