"""Fixtures of the tests of models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.models.lanes import Fixture


@pytest.fixture
def start() -> Iterator[Fixture]:
    fixture = Fixture()
    yield fixture
    for lane in fixture.lanes:
        lane.stop()
