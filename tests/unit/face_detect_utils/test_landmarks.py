"""68 points from networks of 68 and of 468 points."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from face_detect_utils import landmarks
from face_detect_utils.base import Edges, Face, TrackedFace
from face_detect_utils.geometry import edges_of, layout_of, mouth_of, roll_of, square_of
from face_detect_utils.landmarks import IBUG_OF_MESH, OnnxLandmarks
from tests.unit.face_detect_utils import graphs
from tests.unit.face_detect_utils.graphs import Shape
from tests.unit.face_detect_utils.pictures import astronaut, view

MESH = Path(__file__).resolve().parents[4] / "shared" / "weights" / "facemesh468_192.onnx"
PICTURE = np.full((300, 400, 3), 120, np.uint8)
GRID = np.stack(np.meshgrid(np.linspace(0, 1, 17), np.linspace(0, 1, 4)), -1).reshape(68, 2)


def face(angle: float = 0.0, scale: float = 1.0) -> TrackedFace:
    """A face whose tight rectangle is 80 x 100, about (150, 120)."""
    edges = Edges(110 * scale, 70 * scale, 190 * scale, 170 * scale)
    return TrackedFace(150 * scale, 118 * scale, 100 * scale, angle, 150, 145, 33, 0.9, edges)


@pytest.mark.parametrize("unit", [1.0, 64.0])
def test_68_points_are_placed_in_the_picture_in_either_unit(tmp_path: Path, unit: float) -> None:
    path = graphs.landmarks(tmp_path / "landmark68.onnx", GRID.ravel() * unit)
    (points,) = landmarks.load("cpu", path.parent).points(PICTURE, [face()])
    half = 0.6 * 100
    # The input's edges are the square's; a picture's pixel centres lie half a pixel in.
    pixel = 2 * half / 64
    assert points[0] == pytest.approx((150 - half, 120 - half), abs=pixel)
    assert points[-1] == pytest.approx((150 + half, 120 + half), abs=pixel)
    assert points.mean(axis=0) == pytest.approx((150, 120), abs=1e-3)
    assert points.dtype == np.float32


def test_a_rolled_face_gets_rolled_points(tmp_path: Path) -> None:
    path = graphs.landmarks(tmp_path / "a.onnx", GRID)
    (points,) = OnnxLandmarks(path, "cpu").points(PICTURE, [face(math.radians(20))])
    along = points[16] - points[0]
    assert math.degrees(math.atan2(along[1], along[0])) == pytest.approx(20, abs=1e-3)


@pytest.mark.parametrize("batch", [1, "n"])
def test_several_faces_of_a_picture_keep_their_places(tmp_path: Path, batch: int | str) -> None:
    path = graphs.landmarks(tmp_path / "a.onnx", GRID, Shape(batch=batch))
    model = OnnxLandmarks(path, "cpu")
    points = model.points(PICTURE, [face(), face(scale=2.0)])
    assert points.shape == (2, 68, 2)
    assert points[1].mean(axis=0) == pytest.approx((300, 240), abs=1e-3)
    assert model.points(PICTURE, []).shape == (0, 68, 2)


@pytest.mark.parametrize("shape", [(468, 3), (1404,)])
def test_of_a_mesh_the_68_of_the_table_are_taken(tmp_path: Path, shape: tuple[int, ...]) -> None:
    mesh = np.zeros((468, 3), np.float32)
    mesh[IBUG_OF_MESH, :2] = GRID
    path = graphs.landmarks(tmp_path / "a.onnx", mesh.reshape(shape))
    (points,) = OnnxLandmarks(path, "cpu").points(PICTURE, [face()])
    assert points[16, 0] - points[0, 0] == pytest.approx(140)
    assert points.mean(axis=0) == pytest.approx((150, 120 + 4.5), abs=1e-3)


def test_the_table_names_68_points_of_the_mesh_once_each() -> None:
    assert len(set(IBUG_OF_MESH.tolist())) == 68
    assert IBUG_OF_MESH.max() < 468


def test_an_input_of_any_size_is_given_one(tmp_path: Path) -> None:
    path = graphs.landmarks(tmp_path / "a.onnx", GRID, Shape(free=True))
    (points,) = OnnxLandmarks(path, "cpu").points(PICTURE, [face()])
    assert points[16, 0] - points[0, 0] == pytest.approx(120)


def test_a_large_face_is_shrunk_to_what_a_small_one_looks_like(tmp_path: Path) -> None:
    model = OnnxLandmarks(graphs.landmarks(tmp_path / "a.onnx", GRID), "cpu")
    large = np.asarray(view(4.0, size=(960, 720)))
    small = np.asarray(view(1.0, size=(240, 180)))
    edges = Edges(80, 40, 160, 140)
    near = TrackedFace(120, 88, 100, 0.1, 120, 115, 33, 0.9, edges)
    far = near.unscaled(0.25)
    seen = [model._view(large, far)[0], model._view(small, near)[0]]
    # Equal but for the half pixel between the two ways of scaling.
    assert np.abs(seen[0].astype(int) - seen[1]).mean() < 10


@pytest.mark.parametrize("answer", [np.zeros((98, 2)), np.zeros(10)])
def test_a_network_of_other_points_is_refused(tmp_path: Path, answer: np.ndarray) -> None:
    path = graphs.landmarks(tmp_path / "wflw.onnx", answer)
    with pytest.raises(ValueError, match=r"wflw\.onnx has the outputs .* are needed"):
        OnnxLandmarks(path, "cpu")


def test_an_input_that_is_no_square_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = graphs.landmarks(tmp_path / "a.onnx", GRID)
    monkeypatch.setattr(Shape, "dims", property(lambda self: [1, 3, 64, 96]))
    path = graphs.landmarks(tmp_path / "b.onnx", GRID)
    with pytest.raises(ValueError, match=r"the input is 96x64"):
        OnnxLandmarks(path, "cpu")


def test_without_a_file_the_folder_and_the_names_are_told(tmp_path: Path) -> None:
    assert landmarks.find(tmp_path) is None
    with pytest.raises(FileNotFoundError, match="face landmarks"):
        landmarks.load("cpu", tmp_path)


def tracked(detected: Face) -> TrackedFace:
    """A detected face as a tracker tells it."""
    box = square_of(detected)
    angle = 0.0 if detected.points is None else roll_of(detected.points)
    layout = layout_of(detected, box, angle)
    mouth = mouth_of(box, layout, angle)
    edges = edges_of(box, layout)
    at = (mouth.x_px, mouth.y_px, mouth.width_px)
    return TrackedFace(box.x_px, box.y_px, box.width_px, angle, *at, 0.9, edges)


@pytest.mark.parametrize(("scale", "turn"), [(1.0, 0.0), (2.0, 15.0), (5.0, -10.0)])
def test_the_real_mesh_finds_eyes_nose_mouth_and_chin(scale: float, turn: float) -> None:
    if not MESH.is_file():
        pytest.skip(f"{MESH} is not there")
    width, height = round(240 * scale), round(240 * scale)
    picture = view(scale, turn, size=(width, height))
    cos, sin = math.cos(math.radians(turn)), math.sin(math.radians(turn))

    def seen(x: float, y: float) -> tuple[float, float]:
        dx, dy = (x - 226) * scale, (y - 114) * scale
        return width / 2 + dx * cos - dy * sin, height / 2 + dx * sin + dy * cos

    five = [(203, 104), (247, 104), (224, 127), (205, 143), (242, 143)]
    points = np.array([seen(*at) for at in five], np.float32)
    x, y = seen(226, 118)
    tight = Face(x - 45 * scale, y - 58 * scale, 90 * scale, 116 * scale, 1.0, points, tight=True)
    (found,) = OnnxLandmarks(MESH, "cpu").points(picture, [tracked(tight)])
    eyes = [found[36:42].mean(axis=0), found[42:48].mean(axis=0)]
    spots = [*eyes, found[48], found[54], found[8]]
    for spot, at in zip(spots, [*five[:2], *five[3:], (226, 168)], strict=True):
        assert spot == pytest.approx(seen(*at), abs=9 * scale)
    assert found.shape == (68, 2)


def test_one_picture_has_the_same_points_at_any_size() -> None:
    if not MESH.is_file():
        pytest.skip(f"{MESH} is not there")
    model = OnnxLandmarks(MESH, "cpu")
    edges = Edges(180, 60, 272, 176)
    small = TrackedFace(226, 114, 100, 0.0, 224, 140, 35, 0.9, edges)
    (here,) = model.points(astronaut(), [small])
    (there,) = model.points(view(4.0, size=(904, 680)), [small.moved(-113, -29).unscaled(0.25)])
    assert there / 4 + (113, 29) == pytest.approx(here, abs=1.5)
