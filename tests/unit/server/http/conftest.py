"""Fixtures of the HTTP tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.server.clips import make_video, make_wav
from tests.unit.server.http.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An app with a store of its own and no worker."""
    made = House(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def video_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A small video."""
    return make_video(tmp_path_factory.mktemp("clips") / "v.mp4").read_bytes()


@pytest.fixture(scope="session")
def audio_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A recording of 1.5 seconds."""
    return make_wav(tmp_path_factory.mktemp("clips") / "a.wav", 1.5).read_bytes()


@pytest.fixture(scope="session")
def result_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A finished video with sound."""
    return make_video(tmp_path_factory.mktemp("clips") / "r.mp4", sound=True).read_bytes()
