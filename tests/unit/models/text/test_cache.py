"""How rows of a decode step are grouped."""

from __future__ import annotations

from models.text.cache import groups


def test_neighbours_of_similar_length_go_together() -> None:
    assert groups([0, 1, 2, 3], [10, 12, 9, 10]) == [(0, 4)]


def test_a_gap_between_slots_ends_a_run() -> None:
    assert groups([0, 1, 3, 4], [5, 5, 5, 5]) == [(0, 2), (2, 4)]


def test_slots_out_of_order_are_taken_one_by_one() -> None:
    assert groups([2, 1, 0], [5, 5, 5]) == [(0, 1), (1, 2), (2, 3)]


def test_much_padding_ends_a_run() -> None:
    assert groups([0, 1, 2, 3], [9, 9, 999, 999]) == [(0, 2), (2, 4)]


def test_a_single_row_is_a_run() -> None:
    assert groups([7], [0]) == [(0, 1)]
