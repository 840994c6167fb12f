"""Pictures: views, small versions, copies."""

from __future__ import annotations

import av
import numpy as np

from tests.unit.trans_dh_service.media import frame_image, number_of
from trans_dh_service.picture import (
    UPRIGHT,
    Turn,
    copy_of,
    planes_of,
    shown_size,
    small_bgr,
    small_gray,
    small_scale,
    upright,
)


def a_frame(width: int = 160, height: int = 120) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(frame_image(9, width, height), format="rgb24").reformat(
        format="yuv420p"
    )


def test_views_share_the_frames_memory_without_its_padding() -> None:
    frame = a_frame(150, 110)
    luma, blue, red = planes_of(frame)
    assert (luma.shape, blue.shape, red.shape) == ((110, 150), (55, 75), (55, 75))
    luma[5, 7] = 123
    assert planes_of(frame)[0][5, 7] == 123


def test_a_frame_that_fits_is_not_copied() -> None:
    frame = a_frame()
    assert upright(frame, (160, 120), UPRIGHT) is frame


def test_a_frame_of_another_size_is_scaled() -> None:
    frame = upright(a_frame(320, 240), (160, 120), UPRIGHT)
    assert (frame.width, frame.height) == (160, 120)
    assert number_of(planes_of(upright(a_frame(320, 240), (320, 240), UPRIGHT))[0]) == 9


def test_a_copy_has_its_own_memory_and_the_same_tags() -> None:
    frame = a_frame()
    frame.pts, frame.colorspace = 7, 5
    twin = copy_of(frame)
    planes_of(twin)[0][:] = 0
    assert planes_of(frame)[0].max() > 0
    assert (twin.pts, twin.colorspace) == (7, 5)


def test_small_pictures_have_a_long_side_of_640_or_less() -> None:
    large = a_frame(1280, 720)
    assert small_gray(large).shape == (360, 640)
    assert small_bgr(large).shape == (360, 640, 3)
    assert small_scale(1280, 720) == 0.5
    assert small_gray(a_frame()).shape == (120, 160)
    assert small_scale(160, 120) == 1.0


def test_the_small_colours_are_those_of_the_frame() -> None:
    image = np.zeros((720, 1280, 3), np.uint8)
    image[...] = (200, 60, 30)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
    assert np.abs(small_bgr(frame)[100, 100].astype(int) - (30, 60, 200)).max() < 30


def test_a_quarter_turn_swaps_the_sides() -> None:
    assert shown_size(a_frame(150, 110), Turn(1)) == (110, 150)
    assert shown_size(a_frame(150, 110), Turn(2)) == (150, 110)
