"""The visible mark: in its corner, readable, fitting the picture; the rest keeps its bits."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.unit.trans_dh_service.dubs import a_task
from tests.unit.trans_dh_service.fakes import FakeLane, FakeWatch, fake_tools
from tests.unit.trans_dh_service.media import luma_of
from trans_dh_service.compose import colours_for
from trans_dh_service.mark import Mark
from trans_dh_service.picture import planes_of
from trans_dh_service.pipeline import dub
from trans_dh_service.task import DubTask

TEXT = "AI generated"


def flat(width: int, height: int, luma: int = 100, chroma: int = 60) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, value in zip(planes_of(frame), (luma, chroma, 200), strict=True):
        plane[:] = value
    return frame


def marked(width: int, height: int, text: str = TEXT, luma: int = 100) -> av.VideoFrame:
    frame = flat(width, height, luma)
    Mark(text, width, height, colours_for(1, 1, height)).paint(frame)
    return frame


def changed(frame: av.VideoFrame, luma: int = 100) -> tuple[np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(planes_of(frame)[0] != luma)
    return rows, columns


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (640, 480), (480, 848), (160, 120)])
def test_the_mark_stands_bottom_right_at_every_size(width: int, height: int) -> None:
    rows, columns = changed(marked(width, height))
    assert rows.min() > 0.75 * height
    assert columns.max() < width - 1
    assert columns.max() > 0.9 * width
    assert np.ptp(columns) < 0.95 * width
    assert np.ptp(rows) >= 0.03 * height


def test_the_letters_are_as_high_as_said_and_seen_on_light_and_dark() -> None:
    for luma in (16, 60, 128, 200, 235):
        frame = marked(1280, 720, luma=luma)
        rows, columns = changed(frame, luma)
        part = planes_of(frame)[0][rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert np.ptp(part) > 60
        assert (part >= 16).all()
        assert (part <= 235).all()
    assert 0.03 * 720 <= np.ptp(rows) < 0.06 * 720


def test_colours_fade_to_grey_under_the_mark_and_stay_elsewhere() -> None:
    frame = marked(1280, 720)
    luma, blue, red = planes_of(frame)
    touched = (luma != 100).reshape(360, 2, 640, 2).any(axis=(1, 3))
    for plane, old in ((blue, 60), (red, 200)):
        assert (plane[~touched] == old).all()
        assert np.abs(plane[touched].astype(int) - old).max() > 20
    assert blue.max() <= 128
    assert red.min() >= 128


def test_a_long_text_is_made_small_enough_to_fit() -> None:
    text = "The lips of this person were made by a machine, not spoken"
    rows, columns = changed(marked(320, 240, text))
    assert columns.min() > 0
    assert columns.max() < 319
    assert np.ptp(rows) > 3


def test_even_a_tiny_picture_is_marked() -> None:
    rows, _ = changed(marked(16, 16))
    assert len(rows) > 0


def corner(path: Path) -> np.ndarray:
    """The marked corner of every frame, [T, h, w]."""
    with av.open(str(path)) as made:
        frames = [luma_of(frame) for frame in made.decode(video=0)]
    return np.stack(frames)[:, 104:, 80:].astype(int)


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("seen", [True, False])
def test_every_frame_of_a_dub_is_marked_with_a_face_and_without(
    tmp_path: Path, lane: FakeLane, seen: bool
) -> None:
    task = a_task(tmp_path, sound_s=0.8)
    tools = fake_tools(lane, tmp_path / "cache", seen)
    dub(task, tools, FakeWatch())
    plain = corner(task.output)
    with_mark = DubTask(task.video, task.audio, task.work_dir, task.output, watermark=TEXT)
    result = dub(with_mark, tools, FakeWatch())
    assert result.segments_made == 1
    difference = np.abs(corner(task.output) - plain)
    assert (difference.reshape(len(plain), -1).max(axis=1) > 40).all()
    assert len(plain) == 20
