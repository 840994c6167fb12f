"""Fixtures of the tests that run whole dubs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.unit.trans_dh_service.fakes import FakeLane, FakeLips, SteadyTracker, dub_threads


@pytest.fixture
def lane() -> Iterator[FakeLane]:
    """A lane of fake lips."""
    made = FakeLane(FakeLips())
    yield made
    made.close()


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A face that stands still, and no thread of a dub left behind."""
    monkeypatch.setattr("trans_dh_service.faces.FaceTracker", SteadyTracker)
    yield
    assert dub_threads() == []
