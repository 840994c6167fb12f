"""Memory does not grow with the length of a dub."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.trans_dh_service.media import Clip, make_pauses, make_video

CHILD = """
import resource, sys
from dataclasses import replace
from pathlib import Path
import numpy as np
from tests.unit.trans_dh_service import fakes
from trans_dh_service import faces
from trans_dh_service.pipeline import dub
from trans_dh_service.task import DubTask, RestoreTools, RestTools
faces.FaceTracker = fakes.SteadyTracker
folder = Path(sys.argv[1])
lane = fakes.FakeLane(fakes.FakeLips())
fakes.FakeLips.infers = True
all_on = sys.argv[2] == "with all that is painted"
rest = RestTools(lane.lips, lane.submit, np.zeros(1, np.float32))
restore = RestoreTools("same", 512, 4, lambda face: lane._pool.submit(lambda: face))
for name in ("short", "long"):
    video, audio = folder / f"{name}.mp4", folder / f"{name}.wav"
    task = DubTask(video, audio, folder / name, folder / "out.mp4")
    tools = fakes.fake_tools(lane, folder / f"{name} cache")
    if all_on:
        task = replace(task, restore=True, watermark="AI generated")
        tools = replace(tools, rest=rest, restore=restore)
    result = dub(task, tools, fakes.FakeWatch())
    rested = 10 * result.frames_rested // result.frames
    print(result.frames, rested, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
lane.close()
"""
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "tenths_at_rest"),
    [("plain", "00"), ("with all that is painted", "53")],
    ids=["plain", "all"],
)
def test_a_dub_ten_times_as_long_takes_no_more_memory(
    tmp_path: Path, how: str, tenths_at_rest: str
) -> None:
    for name, frames in (("short", 75), ("long", 750)):
        make_video(tmp_path / f"{name}.mp4", Clip(frames=frames, width=320, height=240, gop=50))
        make_pauses(tmp_path / f"{name}.wav", *[(1.0, True), (2.0, False)] * (frames // 75))
    made = subprocess.run(
        [sys.executable, "-c", CHILD, str(tmp_path), how],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=150,
    )
    short, long = (line.split() for line in made.stdout.splitlines())
    assert (short[0], long[0]) == ("75", "750")
    assert short[1] + long[1] == tenths_at_rest
    assert int(long[2]) <= 1.1 * int(short[2])
