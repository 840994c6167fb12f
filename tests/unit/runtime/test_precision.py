"""The precision policy of the process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from runtime.precision import Policy, current, set_policy


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = current()
    yield
    set_policy(before)


def test_reduced_precision_is_allowed_until_it_is_forbidden() -> None:
    assert current() == Policy(amp=True, cudnn_benchmark=True)
    set_policy(Policy(amp=False))
    assert not current().amp
    assert current().cudnn_benchmark
