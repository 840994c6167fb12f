"""Small dubs for tests: a task in a temporary folder, and a run of it with hand-written models."""

from __future__ import annotations

from pathlib import Path

from tests.unit.trans_dh_service.fakes import FakeLane, FakeWatch, fake_tools
from tests.unit.trans_dh_service.media import Clip, make_sound, make_video
from trans_dh_service.pipeline import dub
from trans_dh_service.task import DubResult, DubTask

SHORT = Clip(frames=30)


def a_task(tmp_path: Path, clip: Clip = SHORT, sound_s: float = 3.0) -> DubTask:
    video, audio = tmp_path / "in.mp4", tmp_path / "in.wav"
    if not video.exists():
        make_video(video, clip)
        make_sound(audio, sound_s)
    return DubTask(video, audio, tmp_path / "work", tmp_path / "out" / "out.mp4", segment_s=0.5)


def run(task: DubTask, lane: FakeLane, tmp_path: Path, watch: FakeWatch | None = None) -> DubResult:
    return dub(task, fake_tools(lane, tmp_path / "cache"), watch or FakeWatch())
