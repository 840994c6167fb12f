"""The stages of a run: they end together, wait for nobody in vain, hold little."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from tests.unit.trans_dh_service.dubs import a_task, run
from tests.unit.trans_dh_service.fakes import FakeLane, FakeLips, FakeWatch
from tests.unit.trans_dh_service.media import Clip
from trans_dh_service.task import StoppedError

pytestmark = pytest.mark.usefixtures("steady")


def test_a_lane_that_fails_fails_the_dub_and_nothing_else(tmp_path: Path) -> None:
    lane = FakeLane(FakeLips(), break_at=20)
    task = a_task(tmp_path)
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="the lane broke"):
        run(task, lane, tmp_path)
    assert not task.output.exists()
    assert threading.active_count() <= before + 1
    assert run(task, lane, tmp_path).frames == 75
    lane.close()


def test_a_lane_that_refuses_fails_the_dub(tmp_path: Path, lane: FakeLane) -> None:
    lane.close()
    with pytest.raises(RuntimeError, match="shutdown"):
        run(a_task(tmp_path), lane, tmp_path)


def test_a_stop_does_not_wait_for_a_slow_lane(tmp_path: Path) -> None:
    lane = FakeLane(FakeLips(), slow_s=0.4)
    with pytest.raises(StoppedError):
        run(a_task(tmp_path), lane, tmp_path, FakeWatch(stop=lambda watch: lane.seen >= 2))
    assert lane.seen <= 4
    lane.close()


def test_a_failing_disk_fails_the_dub(
    tmp_path: Path, lane: FakeLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trans_dh_service.sink.write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        run(a_task(tmp_path), lane, tmp_path)


def test_frames_in_work_stay_bounded(
    tmp_path: Path, lane: FakeLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the video, no more pictures wait than the queues allow."""
    pictures = 160 * 120 * 3 // 2
    monkeypatch.setattr("trans_dh_service.render.FRAMES_BYTES", 5 * pictures)
    lane.slow_s = 0.005
    most = 0

    def watch_depth(watch: FakeWatch) -> bool:
        nonlocal most
        most = max(most, lane.seen - (watch.done[-1] if watch.done else 0))
        return False

    run(a_task(tmp_path, Clip(frames=60)), lane, tmp_path, FakeWatch(stop=watch_depth))
    assert 0 < most <= 5 + 8 + 4
