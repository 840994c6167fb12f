"""Fixtures of the job tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from server.jobs.store import JobStore
from tests.unit.server.jobs.rows import store_in


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    """A fresh store, closed in the end."""
    made = store_in(tmp_path)
    yield made
    made.close()
