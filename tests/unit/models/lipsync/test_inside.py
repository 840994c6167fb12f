"""The mouth's inside."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.lipsync import inside
from models.lipsync.lips import Lips
from models.lipsync.shape import field

LIPS = Lips(0.0, 0.0, 0.17, 0.035, 0.05, 0.0, 0.01, 0.0, 0.9, 0.9)
SKIN = np.array([110, 140, 190], np.float32)
U, V = np.meshgrid(np.linspace(-0.25, 0.25, 101), np.linspace(-0.1, 0.2, 121))
FAR = V > 0.19


def shown(opening: float, teeth: float = 0.0, gap: float = 0.0) -> NDArray[np.float32]:
    made = field(LIPS, np.array([opening, 0, 0, teeth, 0], np.float32), U, V)
    place = np.dstack([made.below_upper, made.below_lower, made.across, made.below_line])
    under = np.broadcast_to(SKIN, (*U.shape, 3)).astype(np.float32)
    return inside.painted(under, inside.Look(SKIN, gap, 400.0), place.astype(np.float32), teeth)


def grey(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    return picture @ inside.BRIGHTNESS


def test_an_open_mouth_is_dark_inside_and_skin_outside() -> None:
    picture = shown(0.8)
    assert grey(picture).min() < 0.25 * float(SKIN @ inside.BRIGHTNESS)
    assert np.abs(picture[FAR] - SKIN).max() < 1


def test_a_wider_opening_shows_more_dark() -> None:
    dark = [(grey(shown(o)) < 60).sum() for o in (0.1, 0.4, 0.8)]
    assert dark[0] < dark[1] < dark[2]


def test_teeth_show_below_the_upper_lip_and_grow_with_the_feature() -> None:
    hidden, bare = shown(0.6, 0.0), shown(0.6, 1.0)
    middle = U.shape[1] // 2
    assert (grey(bare)[:, middle] - grey(hidden)[:, middle]).max() > 50
    rows = np.flatnonzero(grey(bare)[:, middle] - grey(hidden)[:, middle] > 50)
    assert V[rows.max(), middle] < 0.04


def test_closed_lips_keep_only_a_thin_line() -> None:
    changed = np.abs(shown(0.0) - SKIN).max(axis=2) > 10
    assert changed.any()
    assert changed.sum(axis=0).max() <= 5


def test_lips_that_had_to_be_closed_get_a_stronger_line() -> None:
    assert grey(shown(0.0, gap=0.06)).min() < grey(shown(0.0)).min()


def test_the_inside_is_searched_only_near_the_lips() -> None:
    made = field(LIPS, np.array([0.5, 0, 0, 0, 0], np.float32), U, V)
    part = inside.where(made)
    assert part is not None
    rows, columns = part
    assert rows.stop - rows.start < 0.6 * U.shape[0]
    assert U[0, columns.start] > -0.2


def test_a_patch_without_the_mouth_has_no_inside() -> None:
    made = field(LIPS, np.zeros(5, np.float32), U, V + 0.5)
    assert inside.where(made) is None


def test_the_persons_own_teeth_are_shown_between_the_lips_in_the_skins_light() -> None:
    made = field(LIPS, np.array([0.8, 0, 0, 0, 0], np.float32), U, V)
    place = np.dstack([made.below_upper, made.below_lower, made.across, made.below_line])
    under = np.broadcast_to(SKIN, (*U.shape, 3)).astype(np.float32)
    own = np.ones((*U.shape, 4), np.float32)
    own[..., 3] = V < 0.03
    look = inside.Look(SKIN, 0.0, 400.0)
    picture = inside.painted(under, look, place.astype(np.float32), 0.0, own)
    middle = U.shape[1] // 2
    column = grey(picture)[:, middle] / float(SKIN @ inside.BRIGHTNESS)
    opening = (made.below_upper[:, middle] > 0.015) & (made.below_lower[:, middle] < -0.015)
    assert column[opening & (V[:, middle] < 0.02)].min() > 0.7
    assert column[opening & (V[:, middle] > 0.04)].max() < 0.4


def test_in_black_and_white_the_inside_is_grey() -> None:
    made = field(LIPS, np.array([0.8, 0, 0, 0, 0], np.float32), U, V)
    place = np.dstack([made.below_upper, made.below_lower, made.across, made.below_line])
    skin = np.full(3, 150, np.float32)
    under = np.broadcast_to(skin, (*U.shape, 3)).astype(np.float32)
    picture = inside.painted(under, inside.Look(skin, 0.0, 400.0), place.astype(np.float32), 0.0)
    assert np.ptp(picture, axis=2).max() < 0.01
    assert grey(shown(0.8)).min() < 60
