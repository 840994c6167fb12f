"""Cutting and blending: no weight keeps the bits, weight takes the patch's colours."""

from __future__ import annotations

from itertools import product

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.lipsync.base import Box, LipPatch
from tests.unit.trans_dh_service.media import frame_image
from trans_dh_service.compose import Crop, colours_for, cut, mixed, paste, placed
from trans_dh_service.picture import planes_of

TV = colours_for(1, 1, 120)


def a_frame(form: str = "yuv420p") -> av.VideoFrame:
    image = frame_image(77)
    image[30:60, 40:100] = (210, 60, 40)
    return av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format=form, dst_colorspace=1, dst_color_range=1
    )


def bits(frame: av.VideoFrame) -> list[np.ndarray]:
    return [plane.copy() for plane in planes_of(frame)]


@pytest.mark.parametrize(("space", "spread"), list(product((1, 5, 7, 9), (1, 2))))
def test_colours_go_there_and_back(space: int, spread: int) -> None:
    colours = colours_for(space, spread, 1080)
    bgr = np.array([[10, 20, 30], [255, 255, 255], [0, 0, 0], [200, 30, 90.0]])
    yuv = bgr @ colours.to_yuv[:, :3].T + colours.to_yuv[:, 3]
    back = yuv @ colours.to_bgr[:, :3].T + colours.to_bgr[:, 3]
    assert np.allclose(back, bgr)
    white, black = (255, 0) if spread == 2 else (235, 16)
    assert yuv[1] == pytest.approx([white, 128, 128])
    assert yuv[2] == pytest.approx([black, 128, 128])


def test_untagged_colours_follow_the_height() -> None:
    red = np.array([0, 0, 1.0, 0])
    assert colours_for(2, 0, 1080).to_yuv[0] @ red == pytest.approx(219 / 255 * 0.2126)
    assert colours_for(2, 0, 480).to_yuv[0] @ red == pytest.approx(219 / 255 * 0.299)


def test_a_crop_has_the_colours_of_other_converters() -> None:
    frame = a_frame()
    crop = cut(frame, Box(44, 34, 40, 20), TV)
    assert crop is not None
    assert (crop.x, crop.y) == (44, 34)
    assert np.abs(crop.image.astype(int) - (40, 60, 210)).max() <= 4


def test_a_crop_grows_to_even_edges_and_repeats_the_border_outside() -> None:
    frame = a_frame()
    crop = cut(frame, Box(-5, 101, 21, 33), TV)
    assert crop is not None
    assert (crop.x, crop.y) == (-6, 100)
    assert crop.image.shape == (34, 22, 3)
    assert (crop.image[:, :6] == crop.image[:, 6:7]).all()
    assert (crop.image[20:] == crop.image[19]).all()


def test_a_box_beside_the_frame_gives_nothing() -> None:
    for box in (Box(-50, 0, 20, 20), Box(0, 200, 20, 20), Box(300, 10, 20, 20)):
        assert cut(a_frame(), box, TV) is None


@given(
    at=st.tuples(st.integers(-30, 170), st.integers(-30, 130)),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    seed=st.integers(0, 1000),
)
def test_what_has_no_weight_keeps_its_bits(
    at: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    frame = a_frame()
    before = bits(frame)
    dice = np.random.default_rng(seed)
    weight = dice.random(size, np.float32) * (dice.random(size) > 0.5)
    image = dice.integers(0, 256, (*size, 3), np.uint8)
    crop = Crop(np.zeros((1, 1, 3), np.uint8), at[0] - 3, at[1] + 2)
    paste(frame, placed(crop, LipPatch(image, weight.astype(np.float32), 3, -2)), 1.0, TV)
    painted = np.zeros((120 + 200, 160 + 200), bool)
    painted[at[1] + 100 : at[1] + 100 + size[0], at[0] + 100 : at[0] + 100 + size[1]] = weight > 0
    painted = painted[100:220, 100:260]
    luma, blue, red = planes_of(frame)
    assert (luma == before[0])[~painted].all()
    whole = painted.reshape(60, 2, 80, 2).all(axis=(1, 3))
    for plane, old in ((blue, before[1]), (red, before[2])):
        assert (plane == old)[~whole].all()


def test_full_weight_takes_the_patch_and_half_weight_the_middle() -> None:
    frame, half = a_frame(), a_frame()
    image = np.full((20, 30, 3), (200, 30, 90), np.uint8)
    patch = LipPatch(image, np.ones((20, 30), np.float32), 4, 6)
    before = bits(frame)
    paste(frame, placed(Crop(image, 50, 70), patch), 1.0, TV)
    crop = cut(frame, Box(56, 78, 20, 10), TV)
    assert crop is not None
    assert np.abs(crop.image.astype(int) - (200, 30, 90)).max() <= 4
    paste(half, placed(Crop(image, 50, 70), patch), 0.5, TV)
    luma = planes_of(half)[0][80, 60]
    assert luma == pytest.approx((before[0][80, 60] / 2 + planes_of(frame)[0][80, 60] / 2), abs=1)


def test_an_unchanged_patch_leaves_the_picture_as_it_was() -> None:
    frame = a_frame()
    before = bits(frame)
    crop = cut(frame, Box(40, 64, 60, 40), TV)
    assert crop is not None
    patch = LipPatch(crop.image.copy(), np.ones(crop.image.shape[:2], np.float32), 0, 0)
    paste(frame, placed(crop, patch), 1.0, TV)
    for old, new in zip(before, planes_of(frame), strict=True):
        assert np.abs(old.astype(int) - new).max() <= 3


def test_a_patch_beyond_the_frame_changes_nothing() -> None:
    frame = a_frame()
    before = bits(frame)
    patch = LipPatch(np.zeros((10, 10, 3), np.uint8), np.ones((10, 10), np.float32), 0, 0)
    paste(frame, placed(Crop(patch.image, 200, 20), patch), 1.0, TV)
    assert all((old == new).all() for old, new in zip(before, planes_of(frame), strict=True))


def a_patch(value: int, weight: float, x: int, y: int) -> LipPatch:
    return LipPatch(
        np.full((20, 30, 3), value, np.uint8), np.full((20, 30), weight, np.float32), x, y
    )


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_mixture_of_two_patches_lets_nothing_of_the_frame_through(share: float) -> None:
    frame = a_frame()
    paste(frame, mixed(a_patch(80, 1.0, 40, 40), a_patch(160, 1.0, 40, 40), share), 1.0, TV)
    crop = cut(frame, Box(44, 44, 20, 10), TV)
    assert crop is not None
    assert np.abs(crop.image.astype(int) - (80 + 80 * share)).max() <= 3


def test_a_mixture_covers_both_places_each_by_its_share() -> None:
    both = mixed(a_patch(80, 1.0, 40, 50), a_patch(160, 0.5, 60, 44), 0.5)
    assert (both.x, both.y, both.weight.shape) == (40, 44, (26, 50))
    assert both.weight[8, 0] == pytest.approx(0.5)
    assert both.weight[0, 40] == pytest.approx(0.25)
    assert both.weight[8, 25] == pytest.approx(0.75)
    assert both.weight[0, 0] == 0
    assert both.image[8, 0, 0] == 80
    assert both.image[0, 40, 0] == 160
    assert both.image[8, 25, 0] == round((80 * 0.5 + 160 * 0.25) / 0.75)
