"""Fixtures of the tests of lip-sync backends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks run in one thread: a pool's threads wait for each other by spinning, which
    on a busy machine takes a hundred times as long as the work.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
