"""Fixtures of the server's tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_detectors_beside_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a person has put into face_detect_utils/resources/ changes no test."""
    monkeypatch.setattr("models.files.RESOURCES", "nowhere/")
