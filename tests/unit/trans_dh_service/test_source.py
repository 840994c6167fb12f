"""The source: the right picture at every place, forward, backward, from anywhere."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from tests.unit.trans_dh_service.media import (
    Clip,
    frame_image,
    luma_of,
    make_still,
    make_video,
    number_of,
)
from trans_dh_service import source as source_module
from trans_dh_service.picture import planes_of
from trans_dh_service.plan import source_frame
from trans_dh_service.probe import open_media, probe_video
from trans_dh_service.source import Source, SourceFrame
from trans_dh_service.task import Loop, MediaError, MediaLimits

LIMITS = MediaLimits()


def opened(path: Path) -> Source:
    return Source(path, probe_video(path, LIMITS), LIMITS)


def shown(frames: Iterable[SourceFrame]) -> list[int]:
    return [number_of(planes_of(frame.picture)[0]) for frame in frames]


@pytest.mark.parametrize(
    ("name", "clip"),
    [
        ("a.mp4", Clip(frames=40)),
        ("a.mov", Clip(frames=40, fps=Fraction(30000, 1001))),
        ("a.mkv", Clip(frames=40, codec="libx265", fps=Fraction(24000, 1001))),
        ("a.webm", Clip(frames=40, codec="libvpx-vp9", fps=Fraction(30000, 1001))),
        ("a.mpg", Clip(frames=40, codec="mpeg1video")),
        ("a.avi", Clip(frames=40, codec="mpeg4")),
        ("a.ts", Clip(frames=40, fps=Fraction(50))),
        ("a.h264", Clip(frames=40)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_frame_comes_once_in_order_from_any_start(
    tmp_path: Path, name: str, clip: Clip
) -> None:
    source = opened(make_video(tmp_path / name, clip))
    assert source.frames == 40
    assert shown(source.forward(0, 40)) == list(range(40))
    for start in (1, 11, 12, 13, 39):
        assert shown(source.forward(start, min(start + 3, 40))) == list(
            range(start, min(start + 3, 40))
        )


@pytest.mark.parametrize("loop", list(Loop))
@pytest.mark.parametrize("first", [0, 17, 31, 64])
def test_loops_show_the_planned_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loop: Loop, first: int
) -> None:
    monkeypatch.setattr(source_module, "CHUNK_BYTES", 7 * 160 * 120 * 3 // 2)
    source = opened(make_video(tmp_path / "a.mp4", Clip(frames=20)))
    assert source.chunk_frames == 7
    wanted = [source_frame(index, 20, loop) for index in range(first, 80)]
    found = list(source.walk(first, 80, loop))
    assert [frame.index for frame in found] == wanted
    assert shown(found) == wanted


def test_a_picture_belongs_to_the_caller_alone(tmp_path: Path) -> None:
    source = opened(make_video(tmp_path / "a.mp4", Clip(frames=12)))
    numbers = []
    for frame in source.walk(0, 40, Loop.PINGPONG):
        numbers.append(number_of(planes_of(frame.picture)[0]))
        frame.picture.make_writable()
        for plane in planes_of(frame.picture):
            plane[:] = 0
    assert numbers == [source_frame(index, 12, Loop.PINGPONG) for index in range(40)]


def test_a_variable_rate_is_resampled_by_time(tmp_path: Path) -> None:
    stamps = (0, 40, 80, 120, 160, 400, 440, 480, 490, 500, 560, 600)
    path = make_video(tmp_path / "a.mkv", Clip(frames=12, stamps=stamps, gop=4))
    info = probe_video(path, LIMITS)
    source = Source(path, info, LIMITS)
    half_s = 1 / (2 * source.fps)
    wanted = [
        max(n for n, at in enumerate(stamps) if Fraction(at, 1000) <= i / source.fps + half_s)
        for i in range(source.frames)
    ]
    assert shown(source.forward(0, source.frames)) == wanted
    assert source.frames == round(Fraction(600, 1000) * source.fps) + 1
    middle = source.frames // 2
    assert shown(source.forward(middle, source.frames)) == wanted[middle:]


def test_a_still_picture_loops(tmp_path: Path) -> None:
    source = opened(make_still(tmp_path / "a.png", "png"))
    assert (source.frames, source.fps) == (1, Fraction(25))
    assert shown(source.walk(3, 10, Loop.PINGPONG)) == [5] * 7


@pytest.mark.parametrize(
    ("degrees", "mirrored"), [(0, True), (90, False), (180, False), (270, True)]
)
def test_rotation_is_applied_as_other_players_do(
    tmp_path: Path, degrees: int, mirrored: bool
) -> None:
    path = make_video(tmp_path / "a.mp4", Clip(frames=3, rotation_deg=degrees, mirrored=mirrored))
    source = opened(path)
    frame = next(source.forward(0, 1)).picture
    assert (frame.width, frame.height) == ((120, 160) if degrees % 180 else (160, 120))
    plain = (frame_image(0) @ (0.299, 0.587, 0.114)).astype(int)
    got = luma_of(frame).astype(int)
    errors = {
        (turns, flip): np.abs(np.rot90(plain[:, ::-1] if flip else plain, turns) - got).mean()
        for turns in range(4)
        for flip in (False, True)
        if np.rot90(plain, turns).shape == got.shape
    }
    best = min(errors, key=lambda key: errors[key])
    # libav's matrix: hflip is applied after a turn against the clock by `degrees`
    flipped = (-degrees // 90 if mirrored else degrees // 90) % 4
    assert best == (flipped, mirrored)


def test_odd_sides_lose_their_last_line(tmp_path: Path) -> None:
    path = make_video(
        tmp_path / "a.webm", Clip(frames=5, codec="libvpx-vp9", width=161, height=121)
    )
    source = opened(path)
    assert (source.look.width_px, source.look.height_px) == (160, 120)
    assert shown(source.forward(0, 5)) == list(range(5))


@pytest.mark.parametrize("form", ["yuv420p10le", "yuv444p", "yuv422p"])
def test_other_formats_become_8_bit_420(tmp_path: Path, form: str) -> None:
    source = opened(make_video(tmp_path / "a.mkv", Clip(frames=5, pix_fmt=form)))
    frames = list(source.forward(0, 5))
    assert shown(frames) == list(range(5))
    assert {frame.picture.format.name for frame in frames} == {"yuv420p"}


def test_full_range_stays_full_range(tmp_path: Path) -> None:
    source = opened(make_still(tmp_path / "a.jpg", "mjpeg"))
    frame = next(source.forward(0, 1)).picture
    assert source.look.color_range == 2
    assert frame.color_range == 2
    assert planes_of(frame)[0][10, 30:].min() < 60


def test_a_file_cut_off_shows_its_last_picture_to_the_end(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", Clip(frames=30))
    info = probe_video(path, LIMITS)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    source = Source(path, info, LIMITS)
    assert 5 < source.frames < 30
    numbers = shown(source.forward(0, source.frames))
    assert len(numbers) == source.frames
    assert numbers == sorted(numbers)


def test_damaged_packets_are_passed_over(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", Clip(frames=30, gop=5))
    data = bytearray(path.read_bytes())
    middle = data.index(b"mdat") + (data.index(b"moov") - data.index(b"mdat")) // 2
    data[middle : middle + 600] = bytes(600)
    path.write_bytes(bytes(data))
    source = opened(path)
    assert len(list(source.forward(0, 30))) == 30


def test_a_file_without_time_stamps_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(make_video(tmp_path / "a.mp4", Clip(frames=20)))
    stamps = source_module.Stamps(np.arange(20), 1 / source.fps, True, 20)
    monkeypatch.setattr(Source, "_scan", lambda self: stamps)
    counted = opened(tmp_path / "a.mp4")
    assert counted.frames == 20
    assert shown(counted.forward(7, 20)) == list(range(7, 20))


def test_a_container_that_cannot_seek_is_read_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = opened(make_video(tmp_path / "a.mp4", Clip(frames=20, gop=5)))

    class Stubborn:
        def __init__(self, inner: av.container.InputContainer) -> None:
            self._inner = inner

        def __enter__(self) -> Stubborn:
            return self

        def __exit__(self, *_: object) -> None:
            self._inner.close()

        def __getattr__(self, name: str) -> object:
            return getattr(self._inner, name)

        def seek(self, *_: object, **__: object) -> None:
            raise av.error.OSError(1, "no seek")

    monkeypatch.setattr(source_module, "open_media", lambda *args: Stubborn(open_media(*args)))
    assert shown(source.forward(13, 20)) == list(range(13, 20))


def test_too_many_frames_are_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mkv", Clip(frames=30))
    info = probe_video(path, LIMITS)
    with pytest.raises(MediaError, match="30 frames, at most 25"):
        Source(path, info, MediaLimits(max_video_s=1, max_fps=25))


def test_a_video_that_lost_all_pictures_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", Clip(frames=10))
    info = probe_video(path, LIMITS)
    data = bytearray(path.read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(bytes(data))
    with pytest.raises(MediaError, match="no picture could be decoded"):
        Source(path, info, LIMITS)
