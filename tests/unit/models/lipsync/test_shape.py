"""The change of the face by the feature: properties that keep it a face."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.lipsync.lips import Lips
from models.lipsync.shape import INSIDE, MOST_LIFT, Field, fade, field

SHUT = Lips(0.0, 0.0, 0.17, 0.035, 0.05, 0.0, 0.01, 0.0, 0.9, 0.9)
SMILE = Lips(0.01, 0.02, 0.2, 0.035, 0.05, 0.06, 0.015, 0.0, 0.9, 0.1)
THIN = Lips(0.0, 0.0, 0.17, 0.018, 0.028, 0.17, 0.03, 0.0, 0.9, 0.1)
POUT = Lips(0.0, 0.0, 0.16, 0.03, 0.07, 0.0, -0.045, 0.0, 0.9, 0.9)
U, V = np.meshgrid(np.linspace(-0.35, 0.35, 71), np.linspace(-0.2, 0.5, 351))
STEP = 0.7 / 350
features = arrays(np.float32, 5, elements=st.floats(0, 1, width=32))


def change(lips: Lips, *values: float) -> Field:
    return field(lips, np.array(values, np.float32), U, V)


def height(made: Field) -> float:
    """Height of the opening in the middle, face widths."""
    middle = U.shape[1] // 2
    inside = (made.below_upper[:, middle] > 0) & (made.below_lower[:, middle] < 0)
    return float(inside.sum() * STEP)


def test_shut_lips_at_rest_are_left_as_they_are() -> None:
    made = change(SHUT, 0, 0, 0, 0, 0)
    assert np.abs(made.u - U).max() < 1e-6
    assert np.abs(made.upper_v - V).max() < 1e-6
    assert np.abs(made.lower_v - V).max() < 1e-6
    assert height(made) == 0


def test_lips_learned_open_are_closed_at_rest() -> None:
    made = change(SMILE, 0, 0, 0, 0, 0)
    assert height(made) <= STEP
    middle = U.shape[1] // 2
    row = int(np.argmin(np.abs(made.below_upper[:, middle])))
    assert made.upper_v[row, middle] == pytest.approx(SMILE.y - INSIDE, abs=0.004)
    lower = SMILE.y + SMILE.gap + INSIDE
    assert made.lower_v[row, middle] == pytest.approx(lower, abs=0.004)


def test_the_opening_grows_with_the_feature() -> None:
    heights = [height(change(SHUT, o, 0, 0, 0, 0)) for o in (0, 0.1, 0.3, 0.6, 1)]
    assert heights == sorted(heights)
    assert heights[-1] == pytest.approx(0.13, abs=0.02)


def test_closure_presses_an_opening_shut() -> None:
    assert height(change(SHUT, 0.3, 0, 0, 0, 1)) <= STEP


def test_a_hint_of_a_closure_leaves_the_opening_as_it_is() -> None:
    assert height(change(SHUT, 0.3, 0, 0, 0, 0.4)) == height(change(SHUT, 0.3, 0, 0, 0, 0))


def test_width_spreads_and_rounding_draws_the_corners_in() -> None:
    corner = np.argmin(np.abs(V[:, 0])), np.argmin(np.abs(U[0] - 0.16))
    assert change(SHUT, 0, 1, 0, 0, 0).u[corner] < U[corner] - 0.005
    assert change(SHUT, 0, 0, 1, 0, 0).u[corner] > U[corner] + 0.01


def test_an_odd_bend_is_taken_out_of_the_rest() -> None:
    made = change(POUT, 0, 0, 0, 0, 0)
    corner = int(np.argmin(np.abs(U[0] - 0.155)))
    row = int(np.argmin(np.abs(made.below_upper[:, corner])))
    assert abs(V[row, corner]) < 0.02 < 0.035 < made.upper_v[row, corner]


def test_a_broad_lift_is_brought_down() -> None:
    grin = Lips(0.0, 0.0, 0.17, 0.035, 0.05, 0.0, MOST_LIFT + 0.03, 0.0, 0.9, 0.9)
    made = change(grin, 0, 0, 0, 0, 0)
    corner = int(np.argmin(np.abs(U[0] - 0.165)))
    row = int(np.argmin(np.abs(made.below_upper[:, corner])))
    assert V[row, corner] > made.upper_v[row, corner] + 0.02


@settings(max_examples=40, deadline=None)
@given(features, st.sampled_from([SHUT, SMILE, POUT, THIN]))
def test_the_skin_never_folds(values: np.ndarray, lips: Lips) -> None:
    made = field(lips, values, U, V)
    above, below = made.below_upper < 0, made.below_lower > 0
    for source, where in ((made.upper_v, above), (made.lower_v, below)):
        rise = np.diff(source, axis=0)
        both = where[1:] & where[:-1]
        assert rise[both].min() > -1e-6
    assert np.diff(made.u, axis=1).min() > 0


@settings(max_examples=20, deadline=None)
@given(features)
def test_what_is_far_from_the_mouth_stays(values: np.ndarray) -> None:
    made = field(SHUT, values, U, V)
    top = V < -0.18
    assert np.abs(made.upper_v - V)[top].max() < 1e-3
    assert np.abs(made.chin)[V > 0.47].max() < 1e-6
    assert np.abs(made.chin)[V < 0.04].max() < 1e-6


def test_the_chin_follows_the_lips() -> None:
    made = change(SHUT, 1, 0, 0, 0, 0)
    assert 0.03 < made.chin.max() < 0.07


def test_values_beyond_the_range_are_held() -> None:
    assert np.array_equal(change(SHUT, 3, 0, -1, 0, 0).lower_v, change(SHUT, 1, 0, 0, 0, 0).lower_v)


def test_fade_goes_from_one_to_nothing() -> None:
    assert fade(np.array([-1.0, 0.0, 0.5, 1.0, 2.0])).tolist() == [1, 1, 0.5, 0, 0]


def test_a_jaw_that_hangs_in_the_frame_is_taken_up_only_while_the_mouth_is_closed() -> None:
    u, v = np.array([[0.0]]), np.array([[0.27]])
    closed = np.zeros(5, np.float32)
    wide = np.array([0.8, 0, 0, 0, 0], np.float32)
    assert field(SHUT, closed, u, v).chin == 0
    assert float(field(SHUT, closed, u, v, 0.05).chin[0, 0]) == pytest.approx(-0.05, abs=0.001)
    assert field(SHUT, wide, u, v, 0.05).chin == field(SHUT, wide, u, v).chin


def test_a_wide_open_frame_is_taken_up_while_speaking_until_its_lip_is_hidden() -> None:
    u, v = np.array([[0.0]]), np.array([[0.27]])
    wide = np.array([0.8, 0, 0, 0, 0], np.float32)
    raised = float(field(SHUT, wide, u, v).chin[0, 0] - field(SHUT, wide, u, v, 0.17).chin[0, 0])
    assert SHUT.lower + 0.17 - raised < 0.17
    far = np.full((1, 1), 0.52)
    assert field(SHUT, np.zeros(5, np.float32), u, far, 0.2).chin == 0


@pytest.mark.parametrize("drop", [0.03, 0.1, 0.2])
@pytest.mark.parametrize("opening", [0.0, 0.3, 1.0])
def test_the_chin_never_folds(drop: float, opening: float) -> None:
    made = change_of(drop, opening)
    assert (np.diff(V - made.chin, axis=0) > 0.1 * STEP).all()


def change_of(drop: float, opening: float) -> Field:
    return field(SHUT, np.array([opening, 0, 0, 0, 0], np.float32), U, V, drop)
