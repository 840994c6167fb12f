"""MuseTalk with small networks through whole dubs: every frame of the source is encoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from models.lipsync.base import Image
from models.lipsync.muse.chain import Chain
from models.lipsync.musetalk import V15, MuseTalk
from tests.data import musetalk
from tests.unit.models.lipsync import muses
from tests.unit.models.lipsync.conftest import one_thread  # noqa: F401 - used for every test
from tests.unit.trans_dh_service.dubs import a_task
from tests.unit.trans_dh_service.fakes import FakeLane, FakeWatch, fake_tools
from tests.unit.trans_dh_service.media import Clip
from trans_dh_service.pipeline import dub

FRAMES = 8
SOUND_S = 0.6


class Counting(Chain):
    """The small networks, counting what they encode."""

    def __init__(self) -> None:
        self.__dict__.update(muses.chain().__dict__)
        self.encoded = 0

    def encode(self, faces: Sequence[Image]) -> NDArray[np.float16]:
        self.encoded += len(faces)
        return super().encode(faces)


@pytest.fixture
def chain() -> Counting:
    return Counting()


@pytest.fixture
def muse_lane(chain: Counting) -> Iterator[FakeLane]:
    made = FakeLane(MuseTalk(V15, chain))
    yield made
    made.close()


def made(tmp_path: Path, lane: FakeLane, name: str) -> list[NDArray[np.uint8]]:
    """The pictures of a dub with a work folder of its own."""
    task = a_task(tmp_path, Clip(frames=FRAMES), SOUND_S)
    task = replace(task, work_dir=tmp_path / name, output=tmp_path / f"{name}.mp4")
    tools = replace(fake_tools(lane, tmp_path / "cache"), speech=musetalk.speech_model())
    dub(task, tools, FakeWatch())
    with av.open(str(task.output)) as container:
        frames = container.decode(video=0)
        return [np.asarray(frame.to_ndarray(format="rgb24"), np.uint8) for frame in frames]


@pytest.mark.usefixtures("steady")
def test_a_source_is_encoded_once_for_all_its_dubs(
    tmp_path: Path, muse_lane: FakeLane, chain: Counting
) -> None:
    first = made(tmp_path, muse_lane, "first")
    assert len(first) > FRAMES
    assert chain.encoded == FRAMES
    second = made(tmp_path, muse_lane, "second")
    assert chain.encoded == FRAMES
    assert all(np.array_equal(*pair) for pair in zip(first, second, strict=True))
