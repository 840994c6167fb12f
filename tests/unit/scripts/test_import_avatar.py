"""An avatar directory becomes a video that needs no encoding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from models.lipsync.base import LipItem
from models.lipsync.muse.chain import Chain
from models.lipsync.musetalk import V1, V15, MuseTalk, Source
from scripts import import_avatar
from tests.unit.models.lipsync import muses
from tests.unit.models.lipsync.conftest import one_thread  # noqa: F401 - used for every test
from tests.unit.models.lipsync.muse import avatars
from tests.unit.models.lipsync.scenes import pose
from trans_dh_service.cache import content_hash


class NoEncoder:
    """The small networks, without the way in."""

    def __init__(self, chain: Chain) -> None:
        self.speak = chain.speak
        self.sound_width, self.fingerprint = chain.sound_width, chain.fingerprint

    def encode(self, faces: Any) -> Any:
        raise AssertionError(f"{len(faces)} faces were encoded")


def imported(tmp_path: Path, version: str) -> tuple[Path, Path]:
    """The video, and its folder of the cache."""
    folder, out = avatars.write(tmp_path / "avatar", version), tmp_path / "out.mp4"
    given = [str(folder), "--out", str(out), "--data-dir", str(tmp_path / "data")]
    assert import_avatar.main(given) == 0
    return out, tmp_path / "data" / "cache" / content_hash(out)


def frames(video: Path) -> list[np.ndarray]:
    with av.open(str(video)) as container:
        assert container.streams.video[0].average_rate == 25
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def test_the_video_is_the_way_forward(tmp_path: Path) -> None:
    video, _ = imported(tmp_path, "v15")
    shown, given = frames(video), avatars.pictures()
    assert len(shown) == len(given)
    for picture, truth in zip(shown, given, strict=True):
        assert picture.shape == (180, 202, 3)
        assert np.abs(picture[:, :201].astype(int) - truth).mean() < 3


@pytest.mark.parametrize(("name", "version"), [("v1", V1), ("v15", V15)])
def test_a_job_on_the_video_encodes_nothing(tmp_path: Path, name: str, version: Any) -> None:
    video, folder = imported(tmp_path, name)
    backend = MuseTalk(version, NoEncoder(muses.chain()))  # type: ignore[arg-type]
    source = backend.attach(Source(), folder / "faces-any" / f"frames-{backend.name}")
    crop = cv2.copyMakeBorder(frames(video)[1], 20, 20, 20, 20, cv2.BORDER_REPLICATE)
    item = LipItem(np.asarray(crop, np.uint8), pose(), muses.sound(1), source, 1, -20, -20)
    (patch,) = backend.render([item])
    assert patch.weight.max() > 0.9
    with pytest.raises(AssertionError, match="1 faces were encoded"):
        backend.render([replace(item, frame=2)])


def test_a_directory_that_cannot_be_used_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = avatars.write(tmp_path / "avatar")
    (folder / "coords.pkl").unlink()
    assert import_avatar.main([str(folder), "--out", str(tmp_path / "out.mp4")]) == 2
    said = capsys.readouterr().err
    assert "coords.pkl is missing" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("spoiled", [b"no picture", None])
def test_a_picture_that_does_not_fit_leaves_no_video(tmp_path: Path, spoiled: bytes | None) -> None:
    folder = avatars.write(tmp_path / "avatar")
    place = folder / "full_imgs" / "00000002.png"
    if spoiled is None:
        cv2.imwrite(str(place), np.zeros((20, 20, 3), np.uint8))
    else:
        place.write_bytes(spoiled)
    given = [str(folder), "--out", str(tmp_path / "out.mp4"), "--data-dir", str(tmp_path / "d")]
    assert import_avatar.main(given) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["avatar"]


@pytest.mark.parametrize("rate", ["0", "1000", "fast"])
def test_a_rate_out_of_range_is_refused(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        import_avatar.main(["dir", "--out", "a.mp4", "--fps", rate])
    assert "--fps" in capsys.readouterr().err
