"""SCRFD: every form of its heads, from networks whose answers are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from face_detect_utils import scrfd
from tests.unit.face_detect_utils import graphs
from tests.unit.face_detect_utils.graphs import Shape, Spot

LIGHT = np.full((64, 64, 3), 200, np.uint8)
DARK = np.zeros((64, 64, 3), np.uint8)
FORMS = {
    "one": Shape(),
    "batch": Shape(batch="n"),
    "flat": Shape(flat=True),
    "flat of any batch": Shape(batch="n", flat=True),
    "any size": Shape(320, free=True),
    "five levels": Shape(128, levels=5),
    "odd size": Shape(72),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("spot", [Spot(30, 33), Spot(37.5, 21, 30, 44, 0.7, 16), Spot(9, 40)])
def test_decodes_every_form_of_the_heads(tmp_path: Path, form: str, spot: Spot) -> None:
    shape = FORMS[form]
    detector = scrfd.ScrfdDetector(graphs.scrfd(tmp_path / "a.onnx", [spot], shape), "cpu")
    light = np.full((shape.side, shape.side, 3), 200, np.uint8)
    (face,) = detector.detect([light])[0]
    half_width, half_height = spot.width / 2, spot.height / 2
    assert (face.x_px, face.y_px) == pytest.approx((spot.x - half_width, spot.y - half_height))
    assert (face.width_px, face.height_px) == pytest.approx((spot.width, spot.height))
    assert face.points == pytest.approx(spot.points, abs=1e-4)
    assert face.score == pytest.approx(spot.score)
    assert face.tight


def test_the_second_anchor_of_a_cell_lies_where_the_first_does(tmp_path: Path) -> None:
    path = graphs.scrfd(tmp_path / "a.onnx", [Spot(30, 33, anchor=1)])
    (face,) = scrfd.ScrfdDetector(path, "cpu").detect([LIGHT])[0]
    assert face.x_px == pytest.approx(10)


@pytest.mark.parametrize("form", ["one", "batch", "flat", "flat of any batch"])
def test_pictures_of_a_batch_keep_their_own_faces(tmp_path: Path, form: str) -> None:
    path = graphs.scrfd(tmp_path / "a.onnx", [Spot(30, 30)], FORMS[form])
    # (0 - 127.5) / 128 is below 0 and (200 - 127.5) / 128 above: the network tells them apart.
    answer = scrfd.ScrfdDetector(path, "cpu").detect([LIGHT, DARK, LIGHT])
    assert [len(faces) for faces in answer] == [1, 0, 1]


@pytest.mark.parametrize("levels", [3, 5])
def test_a_file_without_points_gives_boxes(tmp_path: Path, levels: int) -> None:
    shape = Shape(128, levels=levels, points=False)
    path = graphs.scrfd(tmp_path / "a.onnx", [Spot(60, 60)], shape)
    (face,) = scrfd.ScrfdDetector(path, "cpu").detect([np.full((128, 128, 3), 200, np.uint8)])[0]
    assert face.points is None
    assert face.tight
    assert face.width_px == pytest.approx(40)


def test_the_input_is_red_first_and_centred() -> None:
    detector = object.__new__(scrfd.ScrfdDetector)
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[..., 2] = 255
    blob = detector._blob([picture])
    assert blob.shape == (1, 3, 2, 2)
    assert blob[0, 0] == pytest.approx(127.5 / 128)
    assert blob[0, 2] == pytest.approx(-127.5 / 128)


def test_a_file_with_another_number_of_outputs_is_refused(tmp_path: Path) -> None:
    path = graphs.yunet(tmp_path / "scrfd_10g.onnx", [])
    with pytest.raises(ValueError, match=r"scrfd_10g\.onnx has 12 outputs"):
        scrfd.load("cpu", tmp_path)
    assert scrfd.find(tmp_path) == path


def test_outputs_of_other_shapes_are_refused(tmp_path: Path) -> None:
    heads = {f"x{i}": np.zeros((1, 64, 4), np.float32) for i in range(6)}
    path = graphs.save(tmp_path / "a.onnx", heads, Shape(), gated=())
    with pytest.raises(ValueError, match="SCRFD has 3 each"):
        scrfd.ScrfdDetector(path, "cpu").detect([LIGHT])


def test_grids_that_do_not_fit_the_input_are_refused(tmp_path: Path) -> None:
    heads = {
        f"{last}{i}": np.zeros((1, 99 - i, last), np.float32) for last in (1, 4) for i in range(3)
    }
    path = graphs.save(tmp_path / "a.onnx", heads, Shape(), gated=())
    with pytest.raises(ValueError, match="99 boxes at stride 8"):
        scrfd.ScrfdDetector(path, "cpu").detect([LIGHT])


def test_without_a_file_the_folder_and_the_names_are_told(tmp_path: Path) -> None:
    assert scrfd.find(tmp_path) is None
    with pytest.raises(FileNotFoundError, match="SCRFD"):
        scrfd.load("cpu", tmp_path)
