"""A whole dub with hand-written models: length, sync, resume, stop, failure."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import structlog

from tests.unit.trans_dh_service.dubs import a_task, run
from tests.unit.trans_dh_service.fakes import (
    FakeLane,
    FakeLips,
    FakeWatch,
    fake_tools,
)
from tests.unit.trans_dh_service.media import (
    SAMPLE_RATE_HZ,
    Clip,
    heard_in,
    luma_of,
    make_sound,
    make_still,
    numbers_in,
    tone,
)
from trans_dh_service import pipeline
from trans_dh_service.pipeline import dub
from trans_dh_service.plan import load_plan, playlist, segment_path, source_frame
from trans_dh_service.sink import PROVENANCE
from trans_dh_service.speech import prepare_sound
from trans_dh_service.task import (
    DubTask,
    Loop,
    MediaError,
    MediaLimits,
    Stage,
    StoppedError,
)

NTSC = Fraction(30000, 1001)
pytestmark = pytest.mark.usefixtures("steady")

MOUTH_ROWS, MOUTH_COLUMNS = slice(76, 84), slice(76, 84)
"""Pixels that the fake lips always cover: the mouth lies at 80, 80."""


def lips_in(path: Path) -> list[float]:
    """Brightness of the mouth in every frame."""
    with av.open(str(path)) as container:
        frames = [luma_of(frame) for frame in container.decode(video=0)]
    return [float(frame[MOUTH_ROWS, MOUTH_COLUMNS].mean()) for frame in frames]


def loud_at(frames: int, fps: Fraction) -> list[bool]:
    return [(index / fps) % Fraction(1, 2) < Fraction(1, 8) for index in range(frames)]


@pytest.mark.parametrize("loop", list(Loop))
def test_the_result_has_the_planned_frames_and_speaks_in_time(
    tmp_path: Path, lane: FakeLane, loop: Loop
) -> None:
    task = a_task(tmp_path)
    task = DubTask(task.video, task.audio, task.work_dir, task.output, loop=loop, segment_s=0.5)
    watch = FakeWatch()
    result = run(task, lane, tmp_path, watch)
    assert numbers_in(task.output) == [source_frame(i, 30, loop) for i in range(75)]
    bright = np.array(lips_in(task.output)) > 100
    assert (bright != loud_at(75, Fraction(25))).sum() <= 6
    assert (result.frames, result.frames_with_face, result.segments_made) == (75, 75, 6)
    assert (result.width_px, result.height_px, result.fps) == (160, 120, 25.0)
    assert result.seconds == pytest.approx(3.0)
    assert {"decode", "learn", "encode", "join", "sound"} <= result.stage_s.keys()
    assert watch.stages == list(Stage)
    assert watch.segments == list(range(6))
    assert watch.frames == result.frames
    assert watch.done == sorted(watch.done)
    assert watch.done[-1] == 75
    assert [path.name for path in task.output.parent.iterdir()] == ["out.mp4"]


def test_the_file_is_streamable_tagged_and_in_step(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path, Clip(frames=40, fps=NTSC), 3.3)
    run(task, lane, tmp_path)
    data = task.output.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(str(task.output)) as made:
        video, audio = made.streams.video[0], made.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert made.metadata["comment"] == PROVENANCE
        assert video.average_rate == NTSC
        times = [packet_s(frame) for frame in made.decode(video)]
        assert times == [index / NTSC for index in range(len(times))]
    heard = heard_in(task.output)
    assert abs(len(heard) / SAMPLE_RATE_HZ - len(times) / NTSC) <= 1 / NTSC
    assert np.abs(heard[: len(tone(3.3))] - tone(3.3)[: len(heard)]).mean() < 0.02


def test_pixel_shape_and_colour_tags_are_kept(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path, Clip(frames=20, pixel_aspect=Fraction(4, 3), colours=6), 0.8)
    run(task, lane, tmp_path)
    with av.open(str(task.output)) as made:
        video = made.streams.video[0]
        context = video.codec_context
        assert video.sample_aspect_ratio == Fraction(4, 3)
        assert (context.colorspace, context.color_primaries, context.color_trc) == (6, 6, 6)


def test_a_resumed_dub_equals_one_in_a_single_run(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path, Clip(frames=40, fps=NTSC))
    first = FakeWatch(stop=lambda watch: len(watch.segments) >= 2)
    with pytest.raises(StoppedError):
        run(task, lane, tmp_path, first)
    assert not task.output.exists()
    kept = {path: path.read_bytes() for path in task.work_dir.glob("segment_*.ts")}
    assert 2 <= len(kept) < 6
    asked = lane.seen
    second = FakeWatch()
    result = run(task, lane, tmp_path, second)
    assert all(path.read_bytes() == data for path, data in kept.items())
    assert result.segments_made == 6 - len(kept)
    assert lane.seen - asked == result.frames - 15 * len(kept)
    assert second.done[0] > 15 * len(kept)
    again = DubTask(
        task.video, task.audio, tmp_path / "whole", tmp_path / "whole.mp4", segment_s=0.5
    )
    run(again, lane, tmp_path)
    assert numbers_in(task.output) == numbers_in(again.output)
    assert np.abs(np.subtract(lips_in(task.output), lips_in(again.output))).max() < 8
    assert np.array_equal(heard_in(task.output), heard_in(again.output))
    assert result.frames_with_face == result.frames


def test_segments_play_as_one_stream_across_a_resume(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path)
    with pytest.raises(StoppedError):
        run(task, lane, tmp_path, FakeWatch(stop=lambda watch: len(watch.segments) >= 3))
    run(task, lane, tmp_path)
    plan = load_plan(task.work_dir)
    assert plan is not None
    text = playlist(task.work_dir, str)
    assert text is not None
    assert text.endswith("#EXT-X-ENDLIST\n")
    joined = tmp_path / "all.ts"
    parts = [segment_path(task.work_dir, index).read_bytes() for index in range(plan.segments)]
    joined.write_bytes(b"".join(parts))
    assert counter_gaps(joined.read_bytes()) == 0
    with av.open(str(joined)) as container:
        stamps = [frame.pts or 0 for frame in container.decode(video=0)]
    assert np.all(np.diff(stamps) == 3600)
    with av.open(str(joined)) as container:
        stamps = [packet.pts or 0 for packet in container.demux(audio=0) if packet.size]
    assert set(np.diff(stamps)) == {1920}
    for index, part in enumerate(parts):
        alone = tmp_path / f"{index}.ts"
        alone.write_bytes(part)
        assert numbers_in(alone) == [
            source_frame(i, 30, Loop.PINGPONG)
            for i in range(plan.start(index), plan.start(index + 1))
        ]


def packet_s(frame: av.VideoFrame) -> Fraction:
    """When a frame is shown, exactly."""
    assert frame.pts is not None
    assert frame.time_base is not None
    return frame.pts * frame.time_base


def counter_gaps(data: bytes) -> int:
    """Breaks in the continuity counters of an MPEG-TS."""
    last: dict[int, int] = {}
    gaps = 0
    for at in range(0, len(data), 188):
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        counter, payload = data[at + 3] & 15, bool(data[at + 3] & 16)
        if pid in last and payload:
            gaps += counter != (last[pid] + 1) % 16
        last[pid] = counter
    return gaps


def test_pixels_away_from_the_mouth_are_those_of_the_source(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path)
    run(task, lane, tmp_path)
    with av.open(str(task.video)) as source, av.open(str(task.output)) as made:
        for old, new in zip(source.decode(video=0), made.decode(video=0), strict=False):
            difference = np.abs(luma_of(old).astype(int) - luma_of(new))
            difference[60:100, 50:110] = 0
            assert difference.mean() < 2.5


def test_a_video_without_a_face_passes_through(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path)
    result = dub(task, fake_tools(lane, tmp_path / "cache", seen=False), FakeWatch())
    assert (result.frames_with_face, lane.seen) == (0, 0)
    assert numbers_in(task.output) == [source_frame(i, 30, Loop.PINGPONG) for i in range(75)]


def test_a_second_job_on_the_same_video_learns_nothing_anew(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path, Clip(frames=130), 6.0)
    assert "faces" in run(task, lane, tmp_path).stage_s
    assert isinstance(lane.lips, FakeLips)
    assert lane.lips.learned == 1
    other = DubTask(task.video, task.audio, tmp_path / "w2", tmp_path / "2.mp4", segment_s=0.5)
    result = run(other, lane, tmp_path)
    assert lane.lips.learned == 1
    assert "faces" not in result.stage_s
    assert result.frames_with_face == 150


def test_a_lost_cache_is_caught_up_on_resume(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path, Clip(frames=200), 8.0)
    with pytest.raises(StoppedError):
        run(task, lane, tmp_path, FakeWatch(stop=lambda watch: len(watch.segments) >= 12))
    result = dub(task, fake_tools(lane, tmp_path / "new cache"), FakeWatch())
    assert result.frames_with_face == 200
    assert numbers_in(task.output) == list(range(200))


def test_a_still_picture_speaks(tmp_path: Path, lane: FakeLane) -> None:
    still = make_still(tmp_path / "a.png", "png")
    audio = make_sound(tmp_path / "a.wav", 1.0)
    task = DubTask(still, audio, tmp_path / "work", tmp_path / "out.mp4")
    assert run(task, lane, tmp_path).frames == 25
    assert set(numbers_in(task.output)) == {5}
    assert np.ptp(lips_in(task.output)) > 50


def test_a_very_short_recording_gives_one_frame(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path, sound_s=0.01)
    assert run(task, lane, tmp_path).frames == 1
    assert numbers_in(task.output) == [0]


def test_other_inputs_throw_the_old_segments_away(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path)
    run(task, lane, tmp_path)
    make_sound(task.audio, 1.5)
    assert run(task, lane, tmp_path).segments_made == 3
    assert len(list(task.work_dir.glob("segment_*"))) == 3
    assert len(numbers_in(task.output)) == 38


def test_a_missing_segment_alone_is_made_again(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path)
    run(task, lane, tmp_path)
    segment_path(task.work_dir, 2).unlink()
    watch = FakeWatch()
    assert run(task, lane, tmp_path, watch).segments_made == 1
    assert watch.segments == [2]
    assert watch.frames == 12
    assert numbers_in(task.output) == [source_frame(i, 30, Loop.PINGPONG) for i in range(75)]


@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_a_damaged_segment_is_made_again(tmp_path: Path, lane: FakeLane, damage: str) -> None:
    task = a_task(tmp_path)
    run(task, lane, tmp_path)
    victim = segment_path(task.work_dir, 3)
    data = victim.read_bytes()
    victim.write_bytes(
        {"empty": b"", "cut": data[: len(data) // 376 * 188], "noise": bytes(len(data))}[damage]
    )
    assert run(task, lane, tmp_path).segments_made == 1
    assert numbers_in(task.output) == [source_frame(i, 30, Loop.PINGPONG) for i in range(75)]


@pytest.mark.parametrize("when", list(Stage))
def test_a_stop_is_heard_in_every_stage(tmp_path: Path, lane: FakeLane, when: Stage) -> None:
    task = a_task(tmp_path)
    with pytest.raises(StoppedError):
        run(task, lane, tmp_path, FakeWatch(stop=lambda watch: when in watch.stages))
    assert not task.output.exists()
    assert run(task, lane, tmp_path).frames == 75


def test_what_a_killed_attempt_left_half_written_is_cleared(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path, sound_s=0.5)
    task.work_dir.mkdir()
    (task.work_dir / "segment_00000.ts.0123abcd.part").write_bytes(b"half")
    run(task, lane, tmp_path)
    assert sorted(path.name for path in task.work_dir.iterdir()) == [
        "plan.json",
        "segment_00000.ts",
        "sound.aac",
        "sound.json",
        "speech.s16",
    ]


def test_a_result_that_fails_its_check_is_not_kept(
    tmp_path: Path, lane: FakeLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trans_dh_service import join

    def refuse(*_: object) -> None:
        raise join.ResultError("sound is missing")

    monkeypatch.setattr(join, "check", refuse)
    task = a_task(tmp_path)
    with pytest.raises(join.ResultError):
        run(task, lane, tmp_path)
    assert list(task.output.parent.iterdir()) == []


def test_bad_inputs_are_refused_with_their_role(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path)
    swapped = DubTask(task.audio, task.video, task.work_dir, task.output)
    with pytest.raises(MediaError) as caught:
        run(swapped, lane, tmp_path)
    assert caught.value.role == "video"
    tools = fake_tools(lane, tmp_path / "cache")
    tight = type(tools)(**{**vars(tools), "limits": MediaLimits(max_audio_s=1)})
    with pytest.raises(MediaError, match="at most 1 s"):
        dub(task, tight, FakeWatch())


def test_what_the_sound_s_thread_logs_names_the_job(
    tmp_path: Path, lane: FakeLane, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def spy(*arguments: Any) -> Any:
        seen.append(structlog.contextvars.get_contextvars()["job_id"])
        return prepare_sound(*arguments)

    monkeypatch.setattr(pipeline, "prepare_sound", spy)
    with structlog.contextvars.bound_contextvars(job_id="video_1"):
        run(a_task(tmp_path), lane, tmp_path)
    assert seen == ["video_1"]
