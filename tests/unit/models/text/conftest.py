"""Fixtures of the tests of text models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.models.text.textfakes import Desk


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.close()
