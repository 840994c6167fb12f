"""The person's own teeth: found in a frame that shows them, kept in the face's plane."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.lipsync import rest, teeth
from models.lipsync.base import FaceSample, Image
from models.lipsync.plane import to_picture
from tests.unit.models.lipsync.scenes import picture, pose
from tests.unit.models.lipsync.test_lips import DARK, POSE, TEETH, drawn

EDGE_PX = 9
"""How far the drawn teeth reach below the line of the closed lips."""


def smiling(notch: bool = False, shift_px: int = 0) -> Image:
    """The drawn face with its mouth open, upper teeth above the dark, their edge at a known row."""
    face = drawn(20, DARK).copy()
    inside = np.zeros(face.shape[:2], np.uint8)
    cv2.ellipse(inside, (200, 200), (33, 18), 0, 0, 180, 1, -1)
    inside[200 + EDGE_PX :] = 0
    inside[:, : 200 + shift_px - 28], inside[:, 200 + shift_px + 28 :] = 0, 0
    if notch:
        inside[200 + EDGE_PX - 4 :, 196:199] = 0
    face[inside > 0] = TEETH
    return np.asarray(cv2.GaussianBlur(face, (0, 0), 0.7), np.uint8)


def sample(face: Image) -> FaceSample:
    return FaceSample(face, POSE, 0.0)


def learned(*faces: Image) -> teeth.Teeth | None:
    return rest.learn([sample(drawn(0)), *(sample(face) for face in faces)]).teeth


def seen(*faces: Image) -> NDArray[np.float32]:
    """The kept teeth laid back over a picture of 400 x 400 with the same pose."""
    known = rest.learn([sample(drawn(0)), *(sample(face) for face in faces)])
    assert known.teeth is not None
    inverse = np.asarray(np.linalg.inv(to_picture(POSE)), np.float64)
    return np.asarray(teeth.shown(known.teeth, known.lips, inverse, (400, 400)), np.float32)


def edge_row(layers: NDArray[np.float32], column: int) -> int:
    return int(np.flatnonzero(layers[150:260, column, 3] > 0.5).max()) + 150


def test_teeth_keep_their_place_and_their_edge() -> None:
    layers = seen(smiling())
    for column in (185, 200, 215):
        assert edge_row(layers, column) == pytest.approx(200 + EDGE_PX, abs=2)


def test_teeth_keep_their_colour_relative_to_the_skin() -> None:
    found = learned(smiling())
    assert found is not None
    shown = seen(smiling())[204, 200, :3] * found.skin
    assert np.abs(shown - np.array(TEETH)).max() < 20


def test_teeth_go_on_above_what_the_lip_hid() -> None:
    layers = seen(smiling())
    assert layers[192, 200, 3] == pytest.approx(1)
    assert np.abs(layers[192, 200, :3] - layers[204, 200, :3]).max() < 0.15


def test_a_narrow_gap_in_their_edge_is_closed() -> None:
    layers = seen(smiling(notch=True))
    assert edge_row(layers, 197) == pytest.approx(edge_row(layers, 215), abs=2)


def test_a_row_in_the_middle_is_taken_before_one_aside() -> None:
    found = learned(smiling(shift_px=14), smiling())
    middle = learned(smiling())
    assert found is not None
    assert middle is not None
    assert np.array_equal(found.layers[..., 3], middle.layers[..., 3])


def test_beyond_the_row_it_grows_dark() -> None:
    row = seen(smiling())[196, :, :3].mean(axis=1)
    assert row[200] > 1.5 * row[200 + 32] > 0


@pytest.mark.parametrize("face", [drawn(0), drawn(20, DARK), np.full((400, 400, 3), 120, np.uint8)])
def test_without_teeth_there_are_none(face: Image) -> None:
    assert learned(face) is None


def test_a_real_smile_shows_teeth_lighter_than_lips() -> None:
    found = rest.learn([FaceSample(picture(), pose(), 0.0)]).teeth
    assert found is not None
    lit = found.layers[found.layers[..., 3] > 200, :3].mean()
    assert lit > 0.7 * float(np.mean(found.skin))


def test_what_is_stored_comes_back() -> None:
    found = learned(smiling())
    assert found is not None
    again = teeth.restore(teeth.dump(found))
    assert again is not None
    assert np.array_equal(again.layers, found.layers)
    assert again.skin == pytest.approx(found.skin)
    assert teeth.restore(teeth.dump(None)) is None


def test_damaged_teeth_are_refused() -> None:
    arrays = teeth.dump(learned(smiling()))
    with pytest.raises(KeyError):
        teeth.restore({"teeth": arrays["teeth"]})
    with pytest.raises(ValueError, match="teeth of type"):
        teeth.restore({**arrays, "teeth": arrays["teeth"][..., :3]})
    with pytest.raises(ValueError, match="skin of shape"):
        teeth.restore({**arrays, "teeth_skin": np.zeros(2)})


def test_a_tongue_is_no_row_of_teeth() -> None:
    face = smiling()
    tongue = np.all(np.abs(face.astype(int) - np.array(TEETH)) < 40, axis=2)
    face[tongue] = (112, 118, 196)
    assert learned(face) is None
