"""Painting a mouth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.lipsync import mouth
from models.lipsync.base import LipItem, LipPatch
from models.lipsync.viseme import load
from tests.unit.models.lipsync.scenes import OPEN, REST, cut, feature, item, learned, picture, pose

LIPS = load("cpu", Path("weights"))


def pasted(work: LipItem, patch: LipPatch) -> NDArray[np.float32]:
    """The crop with the patch laid over it."""
    made = work.crop.astype(np.float32)
    height, width = patch.weight.shape
    part = made[patch.y : patch.y + height, patch.x : patch.x + width]
    part += patch.weight[..., None] * (patch.image - part)
    return made


def around_mouth(work: LipItem, made: NDArray[np.float32]) -> NDArray[np.float32]:
    x, y = round(work.pose.mouth_x_px), round(work.pose.mouth_y_px)
    return made[y - 4 : y + 28, x - 16 : x + 17]


def test_the_teeth_of_a_smile_are_gone_at_rest() -> None:
    work = item(LIPS, REST)
    before = around_mouth(work, work.crop.astype(np.float32))
    after = around_mouth(work, pasted(work, LIPS.render([work])[0]))
    # Teeth are bright where green is nearly as strong as red; lips and skin are redder.
    white = [((p[..., 1] > 0.93 * p[..., 2]) & (p[..., 2] > 150)).mean() for p in (before, after)]
    assert white[0] > 0.15
    assert white[1] < 0.1 * white[0]


def test_an_open_mouth_is_dark() -> None:
    work = item(LIPS, OPEN)
    after = around_mouth(work, pasted(work, LIPS.render([work])[0]))
    assert (after.max(axis=2) < 90).mean() > 0.1


def test_the_seam_does_not_show() -> None:
    work = item(LIPS, REST, 5.0, 10.0)
    (patch,) = LIPS.render([work])
    rim = (patch.weight > 0.02) & (patch.weight < 0.3)
    height, width = patch.weight.shape
    there = work.crop[patch.y : patch.y + height, patch.x : patch.x + width].astype(np.float32)
    apart = np.abs(patch.image - there)[rim]
    assert np.median(apart) < 12


def test_the_mouth_takes_the_light_of_the_frame() -> None:
    crop, where = cut((picture() * 0.75).astype(np.uint8), pose(), LIPS)
    dim = mouth.paint(learned(LIPS), crop, where, feature(REST))
    bright = LIPS.render([item(LIPS, REST)])[0]
    whole = dim.weight > 0.9
    ratio = dim.image[whole].mean() / bright.image[bright.weight > 0.9].mean()
    assert 0.68 < ratio < 0.84


def test_the_chin_moves_only_when_the_mouth_opens() -> None:
    rest, wide = (LIPS.render([item(LIPS, values)])[0] for values in (REST, OPEN))
    low = int(0.85 * rest.weight.shape[0])
    assert not rest.weight[low:].any()
    assert wide.weight[low:].max() > 0.5


def test_a_mouth_outside_the_crop_gives_an_empty_patch() -> None:
    crop, where = cut(picture(), pose(), LIPS)
    patch = mouth.paint(learned(LIPS), crop, where.moved(0, 5 * crop.shape[0]), feature(OPEN))
    assert not patch.weight.any()
    assert patch.image.shape[:2] == patch.weight.shape
