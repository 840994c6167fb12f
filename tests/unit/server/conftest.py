"""Fixtures of the server's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_detectors_beside_the_code() -> Iterator[None]:
    """What a person has put into face_detect_utils/resources/ changes no test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.files.RESOURCES", "nowhere/")
        yield
