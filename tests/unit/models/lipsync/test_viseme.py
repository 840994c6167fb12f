"""What is special to the embedded backend; the rest is in test_contract.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.lipsync.base import FaceSample, LipItem
from models.lipsync.viseme import load
from tests.unit.models.lipsync.scenes import cut, item, picture, pose

LIPS = load("cuda", Path("/nowhere"))


def test_it_is_driven_by_the_embedded_speech_model() -> None:
    assert (LIPS.name, LIPS.speech) == ("viseme", "viseme-audio")


def test_the_crop_of_a_speck_is_still_a_picture() -> None:
    box = LIPS.crop_box(pose(0.01))
    assert box.width >= 16
    assert box.height >= 16


@pytest.mark.parametrize("crop", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32)])
def test_what_is_no_picture_is_refused(crop: np.ndarray) -> None:
    work = item(LIPS)
    with pytest.raises(ValueError, match="uint8"):
        LIPS.render([LipItem(crop, work.pose, work.feature, work.source)])


def test_a_dark_face_gets_a_dark_mouth() -> None:
    dark = (picture() // 3).astype(np.uint8)
    crop, where = cut(dark, pose(), LIPS)
    bright = item(LIPS)
    dim = LipItem(crop, where, bright.feature, LIPS.learn([FaceSample(crop, where, 0.0)]))
    patches = LIPS.render([bright, dim])
    assert patches[1].image.mean() < 0.6 * patches[0].image.mean()
