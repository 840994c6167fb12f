"""What is learned of a source video."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from models.lipsync import rest
from models.lipsync.base import FaceSample
from models.lipsync.lips import find_lips
from tests.unit.models.lipsync.test_lips import DARK, POSE, drawn


def sample(gap_px: int, blur: float = 0.0) -> FaceSample:
    picture = drawn(gap_px, DARK)
    if blur:
        picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.uint8)
    return FaceSample(picture, POSE, 0.0)


def test_the_picture_with_the_most_closed_lips_is_taken() -> None:
    shown = [sample(20), sample(14), sample(0), sample(16)]
    assert np.array_equal(rest.learn(shown).crop, shown[2].crop)


def test_closed_lips_among_many_open_ones_are_found() -> None:
    shown = [sample(8 + i % 5) for i in range(30)]
    shown[13] = sample(0)
    assert np.array_equal(rest.learn(shown).crop, shown[13].crop)


def test_a_blurred_picture_is_not_taken() -> None:
    shown = [sample(0, blur=4), sample(0), sample(0, blur=4)]
    assert rest.learn([*shown, sample(0)]).crop.std() == pytest.approx(sample(0).crop.std())


def test_the_learned_picture_is_a_copy() -> None:
    shown = sample(0)
    learned = rest.learn([shown])
    shown.crop[:] = 0
    assert learned.crop.any()


def test_many_samples_are_thinned() -> None:
    assert rest._spread(100, 16)[-1] == 99
    assert len(rest._spread(100, 16)) == 16
    assert rest._spread(3, 16) == [0, 1, 2]


def test_a_damaged_store_is_refused() -> None:
    arrays = rest.dump(rest.learn([sample(0)]))
    with pytest.raises(KeyError):
        rest.restore({"crop": arrays["crop"]})
    with pytest.raises(TypeError):
        rest.restore({**arrays, "lips": np.zeros(3)})
    with pytest.raises(ValueError, match="learned picture"):
        rest.restore({**arrays, "crop": np.zeros((4, 4))})


def test_without_colours_the_picture_with_the_least_detail_in_the_mouth_is_taken() -> None:
    def grey(gap_px: int) -> FaceSample:
        face = cv2.cvtColor(drawn(gap_px, DARK), cv2.COLOR_BGR2GRAY)
        return FaceSample(np.dstack([face] * 3), POSE, 0.0)

    shown = [grey(20), grey(14), grey(0), grey(16), grey(18)]
    assert np.array_equal(rest.learn(shown).crop, shown[2].crop)


def test_the_dark_corners_of_an_open_mouth_do_not_stay_when_it_is_closed() -> None:
    face = drawn(16, DARK)
    for x in (163, 237):
        cv2.circle(face, (x, 204), 4, DARK, -1)
    learned = rest.learn([FaceSample(face, POSE, 0.0)])
    corners = [learned.crop[200:209, x - 4 : x + 5].astype(float).mean() for x in (163, 237)]
    assert min(corners) > 100 > face[200:209, 159:168].mean()
    assert np.array_equal(learned.crop[:150], face[:150])


def test_lips_that_were_studied_are_not_searched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = [sample(20), sample(0)]
    studied = [replace(one, studied=find_lips(one.crop, one.pose)) for one in shown]
    wanted = rest.learn(shown)
    monkeypatch.setattr(rest, "find_lips", lambda *_: pytest.fail("searched again"))
    assert rest.learn(studied).lips == wanted.lips
