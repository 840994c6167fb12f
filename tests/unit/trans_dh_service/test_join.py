"""The check of a finished file refuses what is not as planned."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from tests.unit.trans_dh_service.media import Clip, make_sound, make_video
from trans_dh_service.join import ResultError, check
from trans_dh_service.plan import Plan
from trans_dh_service.speech import Sound
from trans_dh_service.task import Loop

PLAN = Plan(Fraction(25), 50, 50, 160, 120, 50, Loop.RESTART, 2.0, "mark")
CLIP = Clip(frames=50)


def a_sound(seconds: float) -> Sound:
    return Sound(Path("none"), 48000, 1, round(seconds * 48000), round(seconds * 16000), "x")


def test_a_file_as_planned_passes(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", CLIP, sound_s=2.0)
    check(path, PLAN, a_sound(2.0))


def test_a_missing_stream_is_found(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", CLIP)
    with pytest.raises(ResultError, match="a stream is missing"):
        check(path, PLAN, a_sound(2.0))
    with pytest.raises(ResultError, match="a stream is missing"):
        check(make_sound(tmp_path / "a.m4a", 2.0, "aac"), PLAN, a_sound(2.0))


def test_a_missing_frame_is_found(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", CLIP, sound_s=2.0)
    with pytest.raises(ResultError, match="50 frames instead of 51"):
        check(path, replace(PLAN, frames=51), a_sound(2.0))


def test_sound_that_ends_early_is_found(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", CLIP, sound_s=1.9)
    with pytest.raises(ResultError, match=r"2\.000 s of pictures, 1\.9\d\d s of sound"):
        check(path, PLAN, a_sound(1.9))


def test_sound_of_another_length_than_the_recording_is_found(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", CLIP, sound_s=2.0)
    with pytest.raises(ResultError, match=r"instead of 2\.020 s"):
        check(path, PLAN, a_sound(2.02))
