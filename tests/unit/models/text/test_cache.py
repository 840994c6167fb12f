"""How rows of a decode step are grouped, and the memory that a cache takes."""

from __future__ import annotations

import mmap

import psutil
import pytest
import torch

from models.text import cache as module
from models.text.base import GptConfig
from models.text.cache import Cache, groups

#: 16 slots of 8 MiB each.
WIDE = GptConfig(n_layer=4, n_head=4, n_embd=256, block_size=1023, vocab_size=10)


def rss_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


def test_a_slot_takes_memory_where_its_text_is_written() -> None:
    before = rss_bytes()
    cache = Cache(WIDE, 16, torch.float32, "cpu")
    assert cache.nbytes == 128 << 20
    at_load = rss_bytes() - before
    assert 7 << 20 <= at_load < 16 << 20  # the first 64 positions of all
    cache.values[:, 0, :, :, : module._WARM] = 1.0
    assert rss_bytes() - before - at_load < 1 << 20
    cache.values[:, 0] = 1.0
    assert 7 << 20 <= rss_bytes() - before - at_load < 12 << 20
    assert not cache.values[:, 1:].any()


def test_a_system_without_huge_pages_is_served_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(mmap, "MADV_NOHUGEPAGE", raising=False)
    cache = Cache(WIDE, 1, torch.float32, "cpu")
    cache.values[0, 0, 0, 0, 0] = 2.0
    assert cache.values.sum() == 2.0 * 64


def test_neighbours_of_similar_length_go_together() -> None:
    assert groups([0, 1, 2, 3], [10, 12, 9, 10]) == [(0, 4)]


def test_a_gap_between_slots_ends_a_run() -> None:
    assert groups([0, 1, 3, 4], [5, 5, 5, 5]) == [(0, 2), (2, 4)]


def test_slots_out_of_order_are_taken_one_by_one() -> None:
    assert groups([2, 1, 0], [5, 5, 5]) == [(0, 1), (1, 2), (2, 3)]


def test_much_padding_ends_a_run() -> None:
    assert groups([0, 1, 2, 3], [9, 9, 999, 999]) == [(0, 2), (2, 4)]


def test_a_single_row_is_a_run() -> None:
    assert groups([7], [0]) == [(0, 1)]
