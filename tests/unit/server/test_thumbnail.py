"""Pictures of finished videos."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from server.thumbnail import make_thumbnail
from tests.unit.server.clips import make_video


def test_a_thumbnail_has_the_shape_of_the_video(tmp_path: Path) -> None:
    video = make_video(tmp_path / "v.mp4")
    path = make_thumbnail(video, tmp_path / "t.jpg")
    with av.open(str(path)) as picture:
        frame = next(picture.decode(video=0))
    assert (frame.width, frame.height) == (64, 48)
    assert {item.name for item in tmp_path.iterdir()} == {"v.mp4", "t.jpg"}


def test_a_file_that_is_no_video_raises_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(b"nonsense")
    with pytest.raises(av.FFmpegError):
        make_thumbnail(tmp_path / "v.mp4", tmp_path / "t.jpg")
    assert not (tmp_path / "t.jpg").exists()
