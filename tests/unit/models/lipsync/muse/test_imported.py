"""An imported avatar in a video's cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from models.lipsync.muse.avatar import Avatar, AvatarError, read_avatar
from models.lipsync.muse.box import Edges
from models.lipsync.muse.imported import Imported, keep, mask_name
from tests.unit.models.lipsync.muse import avatars

NAME = "musetalk-v1.5"


@pytest.fixture
def avatar(tmp_path: Path) -> Avatar:
    return read_avatar(avatars.write(tmp_path / "a"))


def test_frames_come_back_as_they_were_kept(tmp_path: Path, avatar: Avatar) -> None:
    keep(avatar, tmp_path / "cache", NAME)
    found = Imported.find(tmp_path / "cache", NAME)
    assert found is not None
    frame = found.frame(1)
    assert frame is not None
    assert frame.box == Edges(62, 41, 142, 141)
    assert np.array_equal(frame.latents, avatars.latents()[1][0].half().numpy())
    assert frame.mask is not None
    assert frame.mask.shape == (frame.around.height, frame.around.width)


def test_frames_without_a_face_have_nothing(tmp_path: Path, avatar: Avatar) -> None:
    keep(avatar, tmp_path, NAME)
    found = Imported.find(tmp_path, NAME)
    assert found is not None
    assert found.frame(2) is None
    assert found.frame(4) is None
    assert found.frame(-1) is None


def test_a_folder_without_an_avatar_has_none(tmp_path: Path) -> None:
    assert Imported.find(tmp_path, NAME) is None


def test_an_avatar_without_masks_has_none(tmp_path: Path) -> None:
    keep(read_avatar(avatars.write(tmp_path / "b", masks=False)), tmp_path, NAME)
    found = Imported.find(tmp_path, NAME)
    assert found is not None
    frame = found.frame(0)
    assert frame is not None
    assert frame.mask is None


@pytest.mark.parametrize("name", ["avatar.npz", "latents.npy"])
def test_a_damaged_avatar_is_left_out_and_told(tmp_path: Path, avatar: Avatar, name: str) -> None:
    file = keep(avatar, tmp_path, NAME) / name
    file.write_bytes(file.read_bytes()[:100])
    with capture_logs() as logs:
        assert Imported.find(tmp_path, NAME) is None
    assert [log["event"] for log in logs] == ["imported avatar left out"]


def test_arrays_of_other_shapes_are_left_out(tmp_path: Path, avatar: Avatar) -> None:
    np.save(keep(avatar, tmp_path, NAME) / "latents.npy", np.zeros((2, 8, 32, 32), np.float16))
    assert Imported.find(tmp_path, NAME) is None


def test_a_damaged_mask_is_left_out_and_told(tmp_path: Path, avatar: Avatar) -> None:
    (keep(avatar, tmp_path, NAME) / mask_name(0)).write_bytes(b"no picture")
    found = Imported.find(tmp_path, NAME)
    assert found is not None
    with capture_logs() as logs:
        frame = found.frame(0)
    assert frame is not None
    assert frame.mask is None
    assert [log["event"] for log in logs] == ["mask left out"]


def test_a_mask_that_does_not_fit_is_refused_before_anything_is_seen(
    tmp_path: Path, avatar: Avatar
) -> None:
    face = avatar.faces[0]
    assert face is not None
    assert face.mask is not None
    face.mask.write_bytes(b"no picture")
    with pytest.raises(AvatarError, match="no picture"):
        keep(avatar, tmp_path / "cache", NAME)
    assert Imported.find(tmp_path / "cache", NAME) is None


def test_it_is_found_from_the_folders_below_the_videos(tmp_path: Path, avatar: Avatar) -> None:
    keep(avatar, tmp_path, NAME)
    assert Imported.find(tmp_path / "faces-haar" / "frames-musetalk", NAME) is not None
    assert Imported.find(tmp_path / "faces-haar" / "frames-musetalk", "musetalk") is None
    assert Imported.find(tmp_path / "one" / "two" / "three", NAME) is None
