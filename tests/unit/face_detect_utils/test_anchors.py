"""What single-shot detectors share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from face_detect_utils import anchors
from face_detect_utils.anchors import Found, InputSpec
from face_detect_utils.yunet import YunetDetector
from tests.unit.face_detect_utils import graphs
from tests.unit.face_detect_utils.graphs import Shape


def found(edges: Sequence[Sequence[float]], scores: list[float]) -> Found:
    return Found(np.array(edges, np.float32), np.array(scores, np.float32), None)


def test_a_wide_picture_is_fitted_with_black_below() -> None:
    canvas, scale = anchors.letterbox(np.full((50, 200, 3), 9, np.uint8), (100, 100))
    assert scale == 0.5
    assert canvas.shape == (100, 100, 3)
    assert (canvas[:25] == 9).all()
    assert not canvas[25:].any()


def test_a_small_picture_is_enlarged_to_the_input() -> None:
    canvas, scale = anchors.letterbox(np.full((20, 10, 3), 9, np.uint8), (100, 100))
    assert scale == 5
    assert (canvas[:, :50] == 9).all()
    assert not canvas[:, 50:].any()


def test_cells_go_row_by_row_and_repeat_for_anchors() -> None:
    assert anchors.cells((16, 24), 8, 1).tolist() == [
        [0, 0],
        [1, 0],
        [0, 1],
        [1, 1],
        [0, 2],
        [1, 2],
    ]
    assert anchors.cells((8, 9), 8, 2).tolist() == [[0, 0], [0, 0], [0, 1], [0, 1]]


def test_boxes_that_overlap_just_enough_are_kept() -> None:
    edges = [[0, 0, 10, 10], [5, 0, 15, 10], [4, 0, 14, 10], [20, 20, 30, 30]]
    pair = found(edges, [0.9, 0.8, 0.7, 0.6])
    assert anchors.apart(pair, 0.34).tolist() == [0, 1, 3]
    assert anchors.apart(pair, 0.33).tolist() == [0, 3]
    assert anchors.apart(pair, 1.0).tolist() == [0, 1, 2, 3]


def test_boxes_without_area_overlap_nothing() -> None:
    assert anchors.apart(found([[5, 5, 5, 5], [5, 5, 5, 5]], [0.9, 0.8]), 0.3).tolist() == [0, 1]


def test_the_strongest_come_first_and_the_weak_not_at_all() -> None:
    strong = anchors.strongest(found([[0, 0, 1, 1]] * 3, [0.2, 0.9, 0.6]), 0.5)
    assert strong.scores.tolist() == pytest.approx([0.9, 0.6])


def test_an_input_of_any_size_is_given_one_of_two_squares() -> None:
    spec = InputSpec("x", None, None, batched=True)
    assert spec.size_for(np.zeros((100, 320, 3), np.uint8)) == (320, 320)
    assert spec.size_for(np.zeros((100, 321, 3), np.uint8)) == (640, 640)


def test_an_input_that_is_no_picture_is_refused(tmp_path: Path) -> None:
    path = graphs.yunet(tmp_path / "a.onnx", [], Shape())
    session = YunetDetector(path, "cpu")._session

    class Odd:
        def get_inputs(self) -> list[object]:
            return [*session.get_inputs(), *session.get_inputs()]

    with pytest.raises(ValueError, match=r"a\.onnx: the input 'input' of shape \[1, 3, 64, 64\]"):
        InputSpec.read(Odd(), path)


@pytest.mark.parametrize("shape", [(0, 4, 3), (4, 4), (4, 4, 4)])
def test_what_is_no_colour_picture_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        anchors.check_picture(np.zeros(shape, np.uint8))
