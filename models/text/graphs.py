"""CUDA graphs of decode steps: one for each number of rows and each length of the look back.

At one stream a step of GPT-2 is bound by launches, not by arithmetic; a graph is one launch.
What it is not: the step itself (network.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from runtime.capture import Capture, capture_cuda

BUCKETS = (1, 2, 4, 8, 16, 32, 64)
_SHORTEST = 128

#: Logits [rows, vocab] of ids [rows] at positions [rows] of the first slots, looking back `window`.
Step = Callable[[Tensor, Tensor, int], Tensor]


def buckets(slots: int) -> tuple[int, ...]:
    """Numbers of rows that graphs are made for; the last is at least `slots`."""
    smaller = tuple(size for size in BUCKETS if size < slots)
    return (*smaller, next((size for size in BUCKETS if size >= slots), slots))


def windows(block_size: int) -> tuple[int, ...]:
    """Lengths of the look back: 128, 256, ... and the block."""
    sizes = []
    size = _SHORTEST
    while size < block_size:
        sizes.append(size)
        size *= 2
    return (*sizes, block_size)


class Graphs:
    """Decode steps by graphs, each captured when it is first needed."""

    def __init__(
        self,
        step: Step,
        slots: int,
        block_size: int,
        device: str,
        capture: Capture = capture_cuda,
    ) -> None:
        self._step, self._capture = step, capture
        self._sizes, self._windows = buckets(slots), windows(block_size)
        self._block_size = block_size
        # Ids and positions, where graphs read them.
        self._inputs = torch.zeros((2, self._sizes[-1]), dtype=torch.int64, device=device)
        self._made: dict[tuple[int, int], tuple[Callable[[], None], Tensor]] = {}

    def decode(self, slots: Sequence[int], ids: Sequence[int], positions: Sequence[int]) -> Tensor:
        """Logits [len(slots), vocab], a copy.

        Rows of the graph that belong to no slot here write at the scratch position, block_size.
        """
        most = self._sizes[-1]
        rows = next(size for size in self._sizes if size > max(slots))
        window = next(size for size in self._windows if size > max(positions))
        tokens, places = [0] * most, [self._block_size] * most
        for slot, token, position in zip(slots, ids, positions, strict=True):
            tokens[slot], places[slot] = token, position
        replay, out = self._graph(rows, window)
        self._inputs.copy_(torch.tensor([tokens, places]))
        replay()
        return out[torch.tensor(slots, device=out.device)]

    def _graph(self, rows: int, window: int) -> tuple[Callable[[], None], Tensor]:
        made = self._made.get((rows, window))
        if made is None:
            ids, positions = self._inputs[0, :rows], self._inputs[1, :rows]
            # Runs before the capture must not touch what the slots hold.
            positions.fill_(self._block_size)
            made = self._capture(lambda: self._step(ids, positions, window))
            self._made[rows, window] = made
        return made
