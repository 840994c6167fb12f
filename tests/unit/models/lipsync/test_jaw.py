"""How far the jaw hangs, on a drawn face whose lower lip is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from models.lipsync import align, jaw, rest
from models.lipsync.base import FaceSample, Image
from models.lipsync.rest import Rest
from tests.unit.models.lipsync.test_lips import DARK, LIP, POSE, SKIN, TEETH, drawn


def learned(face: Image | None = None) -> Rest:
    return rest.learn([FaceSample(drawn() if face is None else face, POSE, 0.0)])


def drop(known: Rest, face: Image) -> float:
    colours = align.template(face, POSE).colours
    return jaw.drop(known.jaw, known.lips, colours, known.light_weight)


def test_a_closed_mouth_has_no_drop() -> None:
    assert drop(learned(), drawn()) == 0


@pytest.mark.parametrize("inside", [DARK, TEETH])
@pytest.mark.parametrize("gap_px", [6, 10, 20])
def test_the_drop_is_that_of_the_lower_lip(inside: tuple[int, int, int], gap_px: int) -> None:
    expected = gap_px / POSE.size_px - jaw.SLACK
    assert drop(learned(), drawn(gap_px, inside)) == pytest.approx(expected, abs=0.012)


def test_light_changes_nothing() -> None:
    dim = np.asarray(cv2.convertScaleAbs(drawn(10), alpha=0.7), np.uint8)
    assert drop(learned(), dim) == pytest.approx(drop(learned(), drawn(10)), abs=0.01)


def test_a_face_without_visible_lips_is_let_be() -> None:
    plain = np.full((400, 400, 3), SKIN, np.uint8)
    assert learned(plain).jaw.redness == 0
    assert drop(learned(plain), drawn(20)) == 0
    assert drop(learned(), plain) == 0


def test_redness_to_the_last_row_ends_there() -> None:
    face = drawn()
    face[200:257] = LIP
    assert drop(learned(), face) == pytest.approx(jaw.MOST, abs=0.01)
