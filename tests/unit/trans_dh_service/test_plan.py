"""The plan's arithmetic, its file, the playlist."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from trans_dh_service.plan import (
    PLAN_FILE,
    Plan,
    frames_for,
    gaps,
    load_plan,
    playlist,
    runs,
    save_plan,
    segment_frames_for,
    segment_path,
    segments_done,
    source_frame,
)
from trans_dh_service.task import Loop

RATES = st.sampled_from([Fraction(25), Fraction(30000, 1001), Fraction(12), Fraction(60)])
LOOPS = st.sampled_from(list(Loop))


def a_plan(frames: int = 125, segment_frames: int = 50, fps: Fraction = Fraction(25)) -> Plan:
    return Plan(fps, frames, segment_frames, 160, 120, 30, Loop.RESTART, 5.0, "mark")


@given(st.integers(1, 40), LOOPS, st.integers(0, 100), st.integers(0, 100))
def test_runs_name_the_same_frames_as_the_loop(
    length: int, loop: Loop, first: int, count: int
) -> None:
    found = [
        frame
        for run in runs(first, first + count, length, loop)
        for frame in range(run.start, run.stop, run.step)
    ]
    assert found == [source_frame(i, length, loop) for i in range(first, first + count)]
    assert sum(run.frames for run in runs(first, first + count, length, loop)) == count


@given(st.integers(1, 40), LOOPS, st.integers(0, 200))
def test_every_shown_frame_exists_and_neighbours_are_near(
    length: int, loop: Loop, index: int
) -> None:
    here, after = (source_frame(index + step, length, loop) for step in (0, 1))
    assert 0 <= here < length
    if loop is Loop.PINGPONG and length > 1:
        assert abs(after - here) == 1
    if loop is Loop.RESTART:
        assert after == (here + 1) % length


def test_back_and_forth_shows_the_ends_once() -> None:
    assert [source_frame(i, 4, Loop.PINGPONG) for i in range(9)] == [0, 1, 2, 3, 2, 1, 0, 1, 2]


@given(st.integers(1, 5000), st.integers(1, 120))
def test_segments_cover_all_frames_once_and_none_is_a_stub(frames: int, size: int) -> None:
    plan = a_plan(frames, size)
    starts = [plan.start(segment) for segment in range(plan.segments + 1)]
    lengths = [after - before for before, after in zip(starts, starts[1:], strict=False)]
    assert starts[0] == 0
    assert starts[-1] == frames
    assert all(length == size for length in lengths[:-1])
    assert lengths[-1] * 2 >= min(size, 2 * frames)
    assert lengths[-1] * 2 <= 3 * size


@given(st.floats(0.001, 4000), RATES)
def test_the_pictures_last_as_long_as_the_sound_to_half_a_frame(
    seconds: float, fps: Fraction
) -> None:
    frames = frames_for(seconds, fps)
    assert frames >= 1
    if frames > 1:
        assert abs(frames / fps - seconds) <= 0.5001 / fps


def test_a_segment_has_at_least_one_frame() -> None:
    assert segment_frames_for(2, Fraction(30000, 1001)) == 60
    assert segment_frames_for(0.001, Fraction(25)) == 1


def test_a_plan_is_read_as_it_was_written(tmp_path: Path) -> None:
    plan = a_plan(fps=Fraction(30000, 1001))
    save_plan(tmp_path, plan)
    assert load_plan(tmp_path) == plan
    assert [path.name for path in tmp_path.iterdir()] == [PLAN_FILE]


def test_a_missing_damaged_or_foreign_plan_is_none(tmp_path: Path) -> None:
    assert load_plan(tmp_path) is None
    for text in ("", "{", "[]", "{}", '{"version": 1}', '{"version": 99}'):
        (tmp_path / PLAN_FILE).write_text(text)
        assert load_plan(tmp_path) is None
    save_plan(tmp_path, a_plan())
    data = json.loads((tmp_path / PLAN_FILE).read_text())
    (tmp_path / PLAN_FILE).write_text(json.dumps({**data, "loop": "sideways"}))
    assert load_plan(tmp_path) is None


def test_the_playlist_grows_and_ends(tmp_path: Path) -> None:
    assert playlist(tmp_path, str) is None
    save_plan(tmp_path, a_plan(140))
    empty = playlist(tmp_path, lambda index: f"part/{index}")
    assert empty is not None
    assert "#EXTINF" not in empty
    assert "#EXT-X-PLAYLIST-TYPE:EVENT" in empty
    for index in (0, 2):
        segment_path(tmp_path, index).touch()
    half = playlist(tmp_path, lambda index: f"part/{index}")
    assert half is not None
    assert half.splitlines()[-2:] == ["#EXTINF:2.000000,", "part/0"]
    segment_path(tmp_path, 1).touch()
    whole = playlist(tmp_path, lambda index: f"part/{index}")
    assert whole is not None
    assert whole.splitlines()[-3:] == ["#EXTINF:1.600000,", "part/2", "#EXT-X-ENDLIST"]


def test_no_segment_lasts_longer_than_the_playlist_says(tmp_path: Path) -> None:
    save_plan(tmp_path, a_plan(174))
    text = playlist(tmp_path, str)
    assert text is not None
    assert a_plan(174).segments == 3
    assert "#EXT-X-TARGETDURATION:3" in text


def test_missing_segments_are_found_as_ranges(tmp_path: Path) -> None:
    plan = a_plan(400)
    for index in (0, 3, 4):
        segment_path(tmp_path, index).touch()
    assert plan.segments == 8
    assert gaps(tmp_path, plan) == [(1, 3), (5, 8)]
    assert segments_done(tmp_path, plan) == 1


def test_what_http_imports_is_light() -> None:
    """The plan and the probe are used by requests: they must not load a model's libraries."""
    code = (
        "import sys, trans_dh_service.plan, trans_dh_service.probe\n"
        "print([name for name in ('cv2', 'torch', 'onnxruntime') if name in sys.modules])"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
