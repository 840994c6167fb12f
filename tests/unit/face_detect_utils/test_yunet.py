"""YuNet: heads of a network whose answers are known, and the published files against OpenCV."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from face_detect_utils import yunet
from face_detect_utils.anchors import letterbox
from tests.unit.face_detect_utils import graphs
from tests.unit.face_detect_utils.graphs import Shape, Spot
from tests.unit.face_detect_utils.pictures import astronaut

WEIGHTS = Path(__file__).resolve().parents[4] / "shared" / "weights"
LIGHT = np.full((64, 64, 3), 200, np.uint8)
DARK = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_decodes_box_points_and_score_of_each_grid(tmp_path: Path, stride: int) -> None:
    spot = Spot(37.5, 21.25, 17.0, 23.0, 0.8, stride)
    detector = yunet.YunetDetector(graphs.yunet(tmp_path / "a.onnx", [spot]), "cpu")
    (face,) = detector.detect([LIGHT])[0]
    assert (face.x_px, face.y_px) == pytest.approx((37.5 - 8.5, 21.25 - 11.5), abs=1e-4)
    assert (face.width_px, face.height_px) == pytest.approx((17, 23), abs=1e-4)
    assert face.score == pytest.approx(0.8)
    assert face.points == pytest.approx(spot.points, abs=1e-4)
    assert face.tight


def test_a_picture_is_scaled_and_its_faces_are_scaled_back(tmp_path: Path) -> None:
    spot = Spot(20, 20)
    detector = yunet.YunetDetector(graphs.yunet(tmp_path / "a.onnx", [spot]), "cpu")
    wide = np.full((96, 192, 3), 200, np.uint8)
    (face,) = detector.detect([wide])[0]
    assert face.x_px + face.width_px / 2 == pytest.approx(60, abs=1e-3)
    assert face.width_px == pytest.approx(120, abs=1e-3)
    assert face.points == pytest.approx(3 * spot.points, abs=1e-3)


def test_the_weaker_of_two_that_overlap_and_all_weak_ones_are_dropped(tmp_path: Path) -> None:
    spots = [
        Spot(12, 30, 20, 30, 0.7),
        Spot(14, 33, 20, 30, 0.95, 16),
        Spot(52, 30, 18, 20, 0.8),
        Spot(52, 60, 8, 8, 0.5),
    ]
    detector = yunet.YunetDetector(graphs.yunet(tmp_path / "a.onnx", spots), "cpu")
    faces = detector.detect([LIGHT])[0]
    assert [round(face.score, 2) for face in faces] == [0.95, 0.8]


@pytest.mark.parametrize("shape", [Shape(), Shape(batch="n"), Shape(320, "n", free=True)])
def test_pictures_of_a_batch_keep_their_own_faces(tmp_path: Path, shape: Shape) -> None:
    detector = yunet.YunetDetector(graphs.yunet(tmp_path / "a.onnx", [Spot(30, 30)], shape), "cpu")
    answer = detector.detect([DARK, LIGHT, DARK, *[LIGHT] * 20])
    assert [len(faces) for faces in answer] == [0, 1, 0, *[1] * 20]
    assert detector.detect([]) == []


def test_a_clone_shares_the_session(tmp_path: Path) -> None:
    detector = yunet.YunetDetector(graphs.yunet(tmp_path / "a.onnx", [Spot(30, 30)]), "cpu")
    twin = detector.clone()
    assert twin._session is detector._session
    assert len(twin.detect([LIGHT])[0]) == 1


def test_a_file_with_other_outputs_is_refused(tmp_path: Path) -> None:
    path = graphs.scrfd(tmp_path / "face_detection_yunet_2022mar.onnx", [])
    with pytest.raises(ValueError, match=r"2022mar\.onnx has the outputs 100, .*cls_8"):
        yunet.load("cpu", path.parent)


def test_without_a_file_the_folder_and_the_names_are_told(tmp_path: Path) -> None:
    assert yunet.find(tmp_path) is None
    with pytest.raises(FileNotFoundError, match=r"YuNet \(face_detection_yunet_"):
        yunet.load("cpu", tmp_path)


@pytest.mark.parametrize("side", [320, 640])
def test_agrees_with_opencv_on_the_published_files(side: int) -> None:
    path = WEIGHTS / f"yunet_n_{side}_{side}.onnx"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    canvas, _ = letterbox(astronaut(), (side, side))
    wanted = cv2.FaceDetectorYN.create(str(path), "", (side, side), 0.6, 0.3).detect(canvas)[1]
    faces = yunet.YunetDetector(path, "cpu").detect([canvas])[0]
    assert len(faces) == len(wanted) == 1
    face, row = faces[0], wanted[0]
    assert (face.x_px, face.y_px, face.width_px, face.height_px) == pytest.approx(row[:4], abs=1e-3)
    assert face.points == pytest.approx(row[4:14].reshape(5, 2), abs=1e-3)
