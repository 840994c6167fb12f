"""Sharpened faces: laid out upright, put back where they were, on the face only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from models.lipsync.base import Image, Pose
from models.restore import load
from tests.unit.models.graphs import brightener
from tests.unit.trans_dh_service.dubs import a_task
from tests.unit.trans_dh_service.fakes import FakeLane, FakeWatch, fake_tools
from tests.unit.trans_dh_service.media import luma_of
from trans_dh_service.compose import Colours, colours_for, paste
from trans_dh_service.pipeline import dub
from trans_dh_service.retouch import Retouch, oval
from trans_dh_service.task import DubResult, DubTask, DubTools, RestoreTools, StoppedError

TV: Colours = colours_for(1, 1, 480)
SIZE = 128


def now(face: Image) -> Future[Image]:
    future: Future[Image] = Future()
    future.set_result(face)
    return future


def a_pose(roll_rad: float = 0.0, x: float = 320, y: float = 240, size: float = 160) -> Pose:
    down = 0.265 * size
    mouth = (x - math.sin(roll_rad) * down, y + math.cos(roll_rad) * down)
    return Pose(x, y, size, roll_rad, *mouth, 0.33 * size)


def a_face_picture(pose: Pose, features: tuple[int, int] = (30, 230)) -> av.VideoFrame:
    """Grey, with a dark mouth and bright eyes where a face of this pose has them."""
    image = np.full((480, 640, 3), 120, np.uint8)
    along = np.array((math.cos(pose.angle_rad), math.sin(pose.angle_rad)))
    down = np.array((-along[1], along[0]))
    mouth = np.array((pose.mouth_x_px, pose.mouth_y_px))
    eyes = mouth - 0.37 * pose.size_px * down
    for at, value in zip((mouth, eyes), features, strict=True):
        place = tuple(int(round(v)) for v in at)
        cv2.circle(image, place, round(0.04 * pose.size_px), (value, value, value), -1)
    frame = av.VideoFrame.from_ndarray(image, format="bgr24")
    return frame.reformat(format="yuv420p", dst_colorspace=1, dst_color_range=1)


def centre_of(mask: Any) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.mean()), float(rows.mean())


@pytest.mark.parametrize("roll_deg", [0, 20, -30])
@pytest.mark.parametrize("width", [60, 160, 300])
def test_the_restorer_sees_an_upright_face_with_eyes_and_mouth_in_their_places(
    roll_deg: int, width: int
) -> None:
    pose = a_pose(math.radians(roll_deg), size=width)
    seen: list[Image] = []

    def look(face: Image) -> Future[Image]:
        seen.append(face)
        return now(face)

    retouch = Retouch(RestoreTools("r", 512, 1, look), TV)
    assert retouch.ask(a_face_picture(pose), pose) is not None
    grey = seen[0].mean(axis=2)
    assert grey.shape == (512, 512)
    assert centre_of(grey > 180) == pytest.approx((257, 240), abs=5)
    assert centre_of(grey < 70) == pytest.approx((257, 371), abs=5)


def brighter(face: Image) -> Future[Image]:
    return now(np.minimum(face.astype(int) + 60, 255).astype(np.uint8))


@pytest.mark.parametrize("roll_deg", [0, 25])
def test_only_an_oval_on_the_face_changes_and_its_edge_is_soft(roll_deg: int) -> None:
    pose = a_pose(math.radians(roll_deg))
    frame = a_face_picture(pose, (120, 120))
    before = luma_of(frame).astype(int)
    retouch = Retouch(RestoreTools("r", SIZE, 1, brighter), TV)
    asked = retouch.ask(frame, pose)
    assert asked is not None
    paste(frame, retouch.patch(asked, asked.future.result()), 1.0, TV)
    lift = luma_of(frame).astype(int) - before
    assert lift[int(pose.mouth_y_px), int(pose.mouth_x_px)] == pytest.approx(60, abs=3)
    touched = lift != 0
    rows, columns = np.nonzero(touched)
    assert np.hypot(rows - 240, columns - 320).max() < 0.65 * pose.size_px
    assert touched.sum() < 1.1 * pose.size_px**2
    assert np.abs(np.diff(lift, axis=1)).max() <= 8


def test_a_restorer_that_changes_nothing_leaves_the_picture_nearly_as_it_was() -> None:
    pose = a_pose(0.2)
    frame = a_face_picture(pose)
    before = luma_of(frame).astype(int)
    retouch = Retouch(RestoreTools("r", 512, 1, now), TV)
    asked = retouch.ask(frame, pose)
    assert asked is not None
    paste(frame, retouch.patch(asked, asked.future.result()), 1.0, TV)
    assert np.abs(luma_of(frame).astype(int) - before).mean() < 0.3


def test_a_face_outside_the_picture_is_left_alone() -> None:
    pose = a_pose(x=3000)
    retouch = Retouch(RestoreTools("r", SIZE, 1, now), TV)
    assert retouch.ask(a_face_picture(a_pose()), pose) is None


def test_the_oval_is_whole_in_the_middle_and_nothing_at_the_border() -> None:
    weight = oval(512)
    assert weight[371, 257] == weight[240, 200] == 1
    assert weight[0].max() == weight[-1].max() == weight[:, 0].max() == weight[:, -1].max() == 0
    assert np.abs(np.diff(weight, axis=0)).max() < 0.05


# In whole dubs

Make = Callable[..., DubTools]


@pytest.fixture
def sharpening(tmp_path: Path, lane: FakeLane) -> Iterator[Make]:
    """Tools with a real restorer file that brightens by a quarter of the range, on a thread."""
    brightener(tmp_path / "gfpgan.onnx", add=0.5)
    restorer = load("cpu", tmp_path)
    pool = ThreadPoolExecutor(1)

    def submit(face: Image) -> Future[Image]:
        return pool.submit(lambda: restorer.run([face])[0])

    def make(submit: Callable[[Image], Future[Image]] = submit) -> DubTools:
        tools = RestoreTools(restorer.label, restorer.size_px, restorer.max_batch, submit)
        return replace(fake_tools(lane, tmp_path / "cache"), restore=tools)

    yield make
    pool.shutdown(cancel_futures=True)


def sharpened(task: DubTask, tools: DubTools, restore: bool = True) -> DubResult:
    asked = replace(task, restore=restore, output=task.output.with_name(f"{restore}.mp4"))
    return dub(asked, tools, FakeWatch())


def lumas(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([luma_of(frame) for frame in container.decode(video=0)]).astype(int)


@pytest.mark.usefixtures("steady")
def test_a_dub_that_asks_for_it_sharpens_the_painted_face_and_says_so(
    tmp_path: Path, sharpening: Make
) -> None:
    task = a_task(tmp_path, sound_s=1.0)
    plain = sharpened(task, sharpening(), restore=False)
    bright = sharpened(task, sharpening())
    assert (plain.restored, bright.restored) == (False, True)
    assert bright.segments_made == 2
    lift = (lumas(bright.path) - lumas(plain.path)).mean(axis=0)
    assert lift[76:84, 76:84].mean() == pytest.approx(0.25 * 255, abs=6)
    assert np.abs(lift[:, :45]).mean() < 1.5
    assert np.abs(lift[:24]).mean() < 1.5
    with av.open(str(bright.path)) as made:
        assert made.metadata["description"].endswith("fake-lips, face restored by gfpgan")


@pytest.mark.usefixtures("steady")
def test_a_dub_without_a_restorer_runs_without(tmp_path: Path, lane: FakeLane) -> None:
    task = a_task(tmp_path, sound_s=0.5)
    result = sharpened(task, fake_tools(lane, tmp_path / "cache"))
    assert not result.restored
    assert result.frames_with_face == result.frames == 13


@pytest.mark.usefixtures("steady")
def test_a_restorer_that_fails_fails_the_dub_and_leaves_no_thread(
    tmp_path: Path, sharpening: Make
) -> None:
    def broken(face: Image) -> Future[Image]:
        future: Future[Image] = Future()
        future.set_exception(RuntimeError("the restorer broke"))
        return future

    with pytest.raises(RuntimeError, match="the restorer broke"):
        sharpened(a_task(tmp_path), sharpening(broken))


@pytest.mark.usefixtures("steady")
def test_a_stop_does_not_wait_for_a_restorer_and_cancels_what_waits(
    tmp_path: Path, sharpening: Make
) -> None:
    waiting: list[Future[Image]] = []

    def never(face: Image) -> Future[Image]:
        waiting.append(Future())
        return waiting[-1]

    task = replace(a_task(tmp_path), restore=True)
    with pytest.raises(StoppedError):
        dub(task, sharpening(never), FakeWatch(stop=lambda watch: len(waiting) >= 3))
    assert 3 <= len(waiting) <= 5
    assert sum(future.cancelled() for future in waiting) >= len(waiting) - 2


@pytest.mark.usefixtures("steady")
def test_faces_wait_for_a_slow_restorer_in_bounded_number(tmp_path: Path, sharpening: Make) -> None:
    """One face per call: two wait, one is in the hands of each stage beside it."""
    pool = ThreadPoolExecutor(1)
    open_now, most = 0, 0

    def slow(face: Image) -> Future[Image]:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        return pool.submit(done, face)

    def done(face: Image) -> Image:
        nonlocal open_now
        open_now -= 1
        return face

    sharpened(a_task(tmp_path, sound_s=1.0), sharpening(slow))
    pool.shutdown()
    assert 0 < most <= 4


def test_the_lips_are_painted_before_the_restorer_sees_the_face(
    tmp_path: Path, steady: None, sharpening: Make
) -> None:
    seen: list[Image] = []

    def look(face: Image) -> Future[Image]:
        seen.append(face)
        return now(face)

    result = sharpened(a_task(tmp_path, sound_s=1.0), sharpening(look))
    assert len(seen) == result.frames_with_face == 25
    mouth = [float(face[40:50, 28:36].mean()) for face in seen]
    assert np.ptp(mouth) > 50
