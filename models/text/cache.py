"""The static cache of keys and values, and attention over it.

What it is not: the network around it (network.py).
"""

from __future__ import annotations

import contextlib
import math
import mmap
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.text.base import GptConfig, Part

_NEVER = float("-inf")
# Rows are attended to together until padding them to the longest costs this many times their sum.
_PADDING = 2.0
# Positions of every slot whose memory is taken at once, so that no first token waits for it: 4.7 MB
# a slot for GPT-2.
_WARM = 64


class Cache:
    """Keys and values of every layer, slot and head: [layer, slot, 2, head, block + 1, head size].

    The extra position is scratch: rows of a CUDA graph that nobody uses write there.
    """

    def __init__(self, config: GptConfig, slots: int, dtype: torch.dtype, device: str) -> None:
        size = config.n_embd // config.n_head
        shape = (config.n_layer, slots, 2, config.n_head, config.block_size + 1, size)
        if device == "cpu":
            self.values = _zeros(shape)
            self.values[..., :_WARM, :].fill_(0)
        else:
            self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.layers = self.values.unbind(0)

    @property
    def nbytes(self) -> int:
        """Bytes when every position is in use."""
        return math.prod(self.values.shape) * self.values.element_size()


def _zeros(shape: tuple[int, ...]) -> Tensor:
    """Zeros on a CPU that take memory where they are written, 4 KiB at a time.

    NumPy asks for huge pages: the first token of a slot of GPT-2 then takes all of its 75 MB, which
    costs 3 ms, and 150 to 480 ms where the machine is virtual and its host has to find them.
    """
    pages = mmap.mmap(-1, math.prod(shape) * 4, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(AttributeError, OSError):  # not Linux, or a kernel without huge pages
        pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.float32).view(shape)


class Attention:
    """Causal attention of one step: writes the step's keys and values, then looks back."""

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """[rows, n_embd] from the fused projection [rows, 3 * n_embd] of one layer."""
        raise NotImplementedError


class Chunk(Attention):
    """Some tokens of one slot, at positions start.. of it."""

    def __init__(self, cache: Cache, slot: int, start: int, count: int) -> None:
        stop = start + count
        rows = cache.values[:, slot : slot + 1]
        self._new = rows[:, 0, :, :, start:stop].unbind(0)
        self._keys = rows[:, :, 0, :, :stop].unbind(0)
        self._values = rows[:, :, 1, :, :stop].unbind(0)
        self._heads = rows.shape[3]
        self._causal = start == 0 and count > 1
        self._mask = None
        if start > 0 and count > 1:
            places = torch.arange(stop, device=rows.device)
            ahead = places[None, :] > places[start:, None]
            self._mask = torch.zeros(ahead.shape, dtype=rows.dtype, device=rows.device)
            self._mask.masked_fill_(ahead, _NEVER)

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """See Attention."""
        new = self._new[layer]
        parts = qkv.to(new.dtype).view(len(qkv), 3, self._heads, -1).permute(1, 2, 0, 3)
        new.copy_(parts[1:])
        y = functional.scaled_dot_product_attention(
            parts[:1],
            self._keys[layer],
            self._values[layer],
            attn_mask=self._mask,
            is_causal=self._causal,
        )
        return y.transpose(1, 2).reshape(len(qkv), -1)


class Chunks(Attention):
    """Some tokens of each of several slots, their rows one after the other."""

    def __init__(self, cache: Cache, parts: Sequence[Part]) -> None:
        self._counts = [len(part.ids) for part in parts]
        self._chunks = [Chunk(cache, part.slot, part.start, len(part.ids)) for part in parts]

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """See Attention."""
        rows = zip(self._chunks, qkv.split_with_sizes(self._counts), strict=True)
        return torch.cat([chunk(layer, own) for chunk, own in rows])


@dataclass(frozen=True)
class _Group:
    """Neighbouring slots that are attended to in one call: rows first..last - 1 of the step."""

    first: int
    last: int
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    mask: Tensor | None


class Rows(Attention):
    """One token in each of several slots, each at its own position."""

    def __init__(self, cache: Cache, slots: Sequence[int], positions: Sequence[int]) -> None:
        self._layers = cache.layers
        self._heads = cache.values.shape[3]
        self._slots = torch.tensor(slots)
        self._positions = torch.tensor(positions)
        self._groups = [
            _group(cache.values, first, slots[first:last], positions[first:last])
            for first, last in groups(slots, positions)
        ]

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """See Attention."""
        rows = len(qkv)
        cache = self._layers[layer]
        parts = qkv.to(cache.dtype).view(rows, 3, self._heads, -1)
        cache[self._slots, :, :, self._positions] = parts[:, 1:]
        queries = parts[:, 0].unsqueeze(2)
        found = [
            functional.scaled_dot_product_attention(
                queries[group.first : group.last],
                group.keys[layer],
                group.values[layer],
                attn_mask=group.mask,
            )
            for group in self._groups
        ]
        y = found[0] if len(found) == 1 else torch.cat(found)
        return y.view(rows, -1)


class Window(Attention):
    """One token in each of the first slots, positions in a tensor: the form of a CUDA graph.

    Every row looks at positions 0..window - 1 through a mask, so that shapes stay the same.
    """

    def __init__(self, cache: Cache, positions: Tensor, window: int) -> None:
        rows = len(positions)
        self._layers = cache.layers
        self._heads = cache.values.shape[3]
        self._window = window
        self._positions = positions
        self._slots = torch.arange(rows, device=positions.device)
        places = torch.arange(window, device=positions.device)
        seen = places[None, :] <= positions[:, None]
        self._mask = torch.zeros(seen.shape, dtype=cache.values.dtype, device=positions.device)
        self._mask = self._mask.masked_fill(~seen, _NEVER)[:, None, None, :]

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """See Attention."""
        rows = len(qkv)
        cache = self._layers[layer]
        parts = qkv.to(cache.dtype).view(rows, 3, self._heads, -1)
        cache[self._slots, :, :, self._positions] = parts[:, 1:]
        y = functional.scaled_dot_product_attention(
            parts[:, 0].unsqueeze(2),
            cache[:rows, 0, :, : self._window],
            cache[:rows, 1, :, : self._window],
            attn_mask=self._mask,
        )
        return y.reshape(rows, -1)


def groups(slots: Sequence[int], positions: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of rows that are worth one call: neighbouring slots of similar length.

    A run's rows are padded to its longest; it ends where the next slot is not the neighbour, or
    where padding would more than double its work.
    """
    runs: list[tuple[int, int]] = []
    first, longest, total = 0, positions[0] + 1, positions[0] + 1
    for row in range(1, len(slots)):
        length = positions[row] + 1
        wide, work = max(longest, length), total + length
        if slots[row] != slots[row - 1] + 1 or wide * (row + 1 - first) > _PADDING * work:
            runs.append((first, row))
            first, longest, total = row, length, length
        else:
            longest, total = wide, work
    return [*runs, (first, len(slots))]


def _group(values: Tensor, first: int, slots: Sequence[int], positions: Sequence[int]) -> _Group:
    longest = max(positions) + 1
    part = values[:, slots[0] : slots[0] + len(slots)]
    mask = None
    if min(positions) + 1 < longest:
        ahead = torch.arange(longest)[None, :] > torch.tensor(positions)[:, None]
        mask = torch.zeros(ahead.shape, dtype=values.dtype).masked_fill_(ahead, _NEVER)
        mask = mask[:, None, None, :]
    keys, looked = part[:, :, 0, :, :longest].unbind(0), part[:, :, 1, :, :longest].unbind(0)
    return _Group(first, first + len(slots), keys, looked, mask)
