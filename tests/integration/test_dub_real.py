"""A dub with the real detector, speech model, lips and lane, on a clip of a real speaker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import pytest

from face_detect_utils.haar import load as load_faces
from models.audio.viseme import load as load_speech
from models.lane import Lane, Priority
from models.lipsync.base import LipItem, LipPatch, LipSync
from models.lipsync.viseme import load as load_lips
from tests.unit.trans_dh_service.fakes import FakeWatch, dub_threads
from trans_dh_service.pipeline import dub
from trans_dh_service.task import DubTask, DubTools, Encoding, Loop, StoppedError

CLIPS = Path(__file__).resolve().parents[2].parent / "shared" / "clips"
SPEAKER = CLIPS / "spoken" / "lbax4n.mpg"
OTHER = CLIPS / "spoken" / "swiz3n.mpg"

pytestmark = pytest.mark.skipif(not SPEAKER.is_file(), reason=f"no clips at {CLIPS}")


class LipEngine:
    """A lip-sync backend as an engine of the lane."""

    name, priority = "lips", Priority.BATCH

    def __init__(self, lips: LipSync) -> None:
        self._lips = lips
        self.max_batch = lips.max_batch

    def run(self, items: Sequence[LipItem]) -> list[LipPatch]:
        return self._lips.render(items)


@contextmanager
def embedded(folder: Path, encoding: Encoding) -> Iterator[DubTools]:
    """What a dub with the embedded models needs, behind a lane of its own."""
    lips = load_lips("cpu", folder)
    lane = Lane([LipEngine(lips)])
    lane.start()
    yield DubTools(
        load_faces("cpu", folder),
        load_speech("cpu", folder),
        lips,
        lambda item: lane.submit("lips", item),
        folder / "cache",
        encoding=encoding,
    )
    lane.stop()


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[DubTools]:
    with embedded(tmp_path, Encoding("veryfast", 12)) as made:
        yield made


def lumas(path: Path) -> np.ndarray:
    """Brightness of all frames [T, h, w]."""
    with av.open(str(path)) as container:
        return np.stack([f.to_ndarray(format="gray") for f in container.decode(video=0)])


def test_only_the_lower_face_of_a_real_speaker_changes(tmp_path: Path, tools: DubTools) -> None:
    task = DubTask(SPEAKER, OTHER, tmp_path / "work", tmp_path / "out.mp4", loop=Loop.RESTART)
    result = dub(task, tools, FakeWatch())
    assert result.frames_with_face == result.frames == 74
    before, after = lumas(SPEAKER)[:74].astype(int), lumas(task.output).astype(int)
    moved = np.abs(before - after).mean(axis=0) > 6
    rows, columns = np.nonzero(moved)
    assert moved.sum() > 200
    height, width = moved.shape
    assert rows.min() > 0.35 * height
    assert np.ptp(columns) < 0.5 * width
    assert np.ptp(rows) < 0.5 * height
    assert dub_threads() == []


def test_a_resumed_dub_of_a_real_speaker_equals_one_in_a_single_run(
    tmp_path: Path, tools: DubTools
) -> None:
    whole = DubTask(SPEAKER, OTHER, tmp_path / "a", tmp_path / "a.mp4", segment_s=0.5)
    dub(whole, tools, FakeWatch())
    parts = DubTask(SPEAKER, OTHER, tmp_path / "b", tmp_path / "b.mp4", segment_s=0.5)
    with pytest.raises(StoppedError):
        dub(parts, tools, FakeWatch(stop=lambda watch: len(watch.segments) >= 2))
    dub(parts, tools, FakeWatch())
    one, two = lumas(whole.output).astype(int), lumas(parts.output).astype(int)
    assert one.shape == two.shape
    assert np.abs(one - two).mean() < 1.0
