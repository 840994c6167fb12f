"""Memory does not grow with the length of a dub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.trans_dh_service.media import Clip, make_sound, make_video

CHILD = """
import resource, sys
from pathlib import Path
from tests.unit.trans_dh_service import fakes
from trans_dh_service import faces
from trans_dh_service.pipeline import dub
from trans_dh_service.task import DubTask
faces.FaceTracker = fakes.SteadyTracker
folder = Path(sys.argv[1])
lane = fakes.FakeLane(fakes.FakeLips())
for name in ("short", "long"):
    video, audio = folder / f"{name}.mp4", folder / f"{name}.wav"
    task = DubTask(video, audio, folder / name, folder / "out.mp4")
    result = dub(task, fakes.fake_tools(lane, folder / f"{name} cache"), fakes.FakeWatch())
    print(result.frames, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
lane.close()
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_a_dub_ten_times_as_long_takes_no_more_memory(tmp_path: Path) -> None:
    for name, frames in (("short", 75), ("long", 750)):
        make_video(tmp_path / f"{name}.mp4", Clip(frames=frames, width=320, height=240, gop=50))
        make_sound(tmp_path / f"{name}.wav", frames / 25)
    made = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=150,
    )
    short, long = (line.split() for line in made.stdout.splitlines())
    assert (short[0], long[0]) == ("75", "750")
    assert int(long[1]) <= 1.1 * int(short[1])
