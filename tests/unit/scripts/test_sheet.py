"""Sheets of faces hold what they should."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from face_detect_utils.base import Face
from scripts import sheet


def test_tiles_lie_in_rows_of_six() -> None:
    made = [np.full((10, 10, 3), i, np.uint8) for i in range(8)]
    whole = sheet.sheet(made)
    assert whole.shape == (20, 60, 3)
    assert whole[5, 55, 0] == 5
    assert whole[15, 15, 0] == 7
    assert whole[15, 55, 0] == 0


def test_a_face_at_the_border_still_gives_a_square() -> None:
    picture = np.full((60, 80, 3), 9, np.uint8)
    assert sheet.tile(picture, Face(0, 0, 40, 40, 1.0), 32).shape == (32, 32, 3)


def test_what_is_no_video_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("nothing")
    monkeypatch.setattr(sys, "argv", ["sheet", str(path), str(tmp_path / "out.png")])
    assert sheet.main() == 1
    assert "notes.mp4" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_without_faces_there_is_no_sheet() -> None:
    with pytest.raises(ValueError, match="no face"):
        sheet.sheet([])
