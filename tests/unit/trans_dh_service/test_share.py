"""One dub made by several workers: the same pictures, whoever makes which segments."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import av
import pytest

from tests.unit.trans_dh_service.dubs import a_task, run
from tests.unit.trans_dh_service.fakes import FakeLane, FakeWatch, fake_tools
from tests.unit.trans_dh_service.media import Clip, make_sound
from trans_dh_service.pipeline import dub_range
from trans_dh_service.plan import PLAN_FILE, Plan, gaps
from trans_dh_service.task import DubTask, StoppedError

pytestmark = pytest.mark.usefixtures("steady")

SEGMENTS = 6


def fingerprints(path: Path) -> list[str]:
    """A hash of every decoded picture, then one of the sound."""
    with av.open(str(path)) as made:
        found = [
            hashlib.md5(frame.to_ndarray().tobytes()).hexdigest()  # noqa: S324 - no secret
            for frame in made.decode(video=0)
        ]
        made.seek(0)
        sound = b"".join(frame.to_ndarray().tobytes() for frame in made.decode(audio=0))
    return [*found, hashlib.md5(sound).hexdigest()]  # noqa: S324


def helper(task: DubTask, lane: FakeLane, cache: Path, first: int, end: int) -> int:
    return dub_range(task, fake_tools(lane, cache), FakeWatch(), first, end)


def unsplit(task: DubTask, lane: FakeLane, folder: Path) -> list[str]:
    whole = DubTask(task.video, task.audio, folder / "work", folder / "whole.mp4", segment_s=0.5)
    run(whole, lane, folder)
    return fingerprints(whole.output)


@pytest.mark.parametrize("frames", [30, 90])
def test_a_dub_by_two_workers_equals_one_by_a_single_worker(
    tmp_path: Path, lane: FakeLane, frames: int
) -> None:
    task = a_task(tmp_path, Clip(frames=frames))
    told: list[list[tuple[int, int]]] = []

    def share(work_dir: Path, plan: Plan) -> Generator[tuple[int, int], None, None]:
        assert plan.segments == SEGMENTS
        assert helper(task, lane, tmp_path / "cache", 4, 6) == 2
        yield 2, 4
        told.append(gaps(work_dir, plan))
        assert helper(task, lane, tmp_path / "other cache", 1, 2) == 1
        yield 0, 1
        told.append(gaps(work_dir, plan))

    result = run(replace(task, share=share), lane, tmp_path)
    assert told == [[(0, 2)], []]
    assert (result.segments_made, result.frames_with_face) == (3, 75)
    assert fingerprints(task.output) == unsplit(task, lane, tmp_path / "alone")


def test_what_nobody_made_in_the_end_is_made_by_the_dub_itself(
    tmp_path: Path, lane: FakeLane
) -> None:
    def share(work_dir: Path, plan: Plan) -> Generator[tuple[int, int], None, None]:
        yield 1, 2

    result = run(replace(a_task(tmp_path), share=share), lane, tmp_path)
    assert result.segments_made == SEGMENTS


def test_a_share_is_closed_when_the_dub_is_stopped(tmp_path: Path, lane: FakeLane) -> None:
    closed: list[bool] = []

    def share(work_dir: Path, plan: Plan) -> Generator[tuple[int, int], None, None]:
        try:
            yield 0, 6
        finally:
            closed.append(True)

    watch = FakeWatch(stop=lambda seen: len(seen.segments) >= 2)
    with pytest.raises(StoppedError):
        run(replace(a_task(tmp_path), share=share), lane, tmp_path, watch)
    assert closed == [True]


def test_helping_needs_the_plan_of_the_same_task(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path)
    task.work_dir.mkdir(parents=True)
    with pytest.raises(StoppedError, match="no plan"):
        helper(task, lane, tmp_path / "cache", 0, 1)
    run(task, lane, tmp_path)
    make_sound(task.audio, 2.0)
    (task.work_dir / "sound.json").unlink()
    plan = (task.work_dir / PLAN_FILE).read_bytes()
    with pytest.raises(StoppedError, match="no plan"):
        helper(task, lane, tmp_path / "cache", 0, 1)
    assert (task.work_dir / PLAN_FILE).read_bytes() == plan


def test_a_resumed_dub_has_the_very_pictures_of_one_in_a_single_run(
    tmp_path: Path, lane: FakeLane
) -> None:
    task = a_task(tmp_path, Clip(frames=90))
    with pytest.raises(StoppedError):
        run(task, lane, tmp_path, FakeWatch(stop=lambda watch: len(watch.segments) >= 2))
    run(task, lane, tmp_path)
    assert fingerprints(task.output) == unsplit(task, lane, tmp_path / "alone")
