"""The restorer: reads its form from the file, keeps colours and order, says what does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.lane import Lane
from models.lipsync.base import Image
from models.restore import RestorerError, find, load
from tests.unit.models.graphs import FLOAT, HALF, brightener, halver


def a_face(size: int = 64, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(60, 160, (size, size, 3), np.uint8)


def test_a_face_goes_through_the_network_and_keeps_its_channels(tmp_path: Path) -> None:
    brightener(tmp_path / "gfpgan-1.4.onnx", add=0.2)
    restorer = load("cpu", tmp_path)
    assert (restorer.size_px, restorer.max_batch, restorer.label) == (64, 1, "gfpgan-1.4")
    face = a_face()
    (made,) = restorer.run([face])
    assert made.dtype == np.uint8
    assert np.abs(made.astype(int) - face - 25.5).max() <= 0.5


def test_values_beyond_the_range_are_cut_off_and_no_number_is_black(tmp_path: Path) -> None:
    for add, expected in ((5.0, 255), (-5.0, 0), (float("nan"), 0)):
        brightener(tmp_path / "gfpgan.onnx", add=add)
        (made,) = load("cpu", tmp_path).run([a_face()])
        assert (made == expected).all()


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), ("n", 3, 64, 64), (2, 3, 64, 64)])
def test_faces_come_back_in_order_whatever_batch_the_file_takes(
    tmp_path: Path, shape: tuple[int | str, ...]
) -> None:
    brightener(tmp_path / "gfpgan.onnx", add=0.0, shape=shape)
    faces = [a_face(seed=seed) for seed in range(10)]
    made = load("cpu", tmp_path).run(faces)
    assert all((new == old).all() for old, new in zip(faces, made, strict=True))


def test_a_free_size_means_512_and_a_free_batch_several(tmp_path: Path) -> None:
    brightener(tmp_path / "gfpgan.onnx", shape=("n", 3, "h", "h"))
    restorer = load("cpu", tmp_path)
    assert restorer.size_px == 512
    assert restorer.max_batch > 1


def test_half_precision_files_work(tmp_path: Path) -> None:
    brightener(tmp_path / "gfpgan.onnx", add=0.2, kind=HALF)
    face = a_face()
    (made,) = load("cpu", tmp_path).run([face])
    assert np.abs(made.astype(int) - face - 25.5).max() <= 1


def test_the_lane_takes_it_as_an_engine(tmp_path: Path) -> None:
    brightener(tmp_path / "gfpgan.onnx", add=0.0)
    restorer = load("cpu", tmp_path)
    lane = Lane([restorer])
    lane.start()
    face = a_face()
    assert (lane.submit(restorer.name, face).result(10) == face).all()
    lane.stop()


@pytest.mark.parametrize(
    ("shape", "inputs", "kind", "words"),
    [
        ((1, 1, 64, 64), ("face",), FLOAT, r"shape \[1, 1, 64, 64\]; \[n, 3, s, s\] is needed"),
        ((1, 3, 64, 32), ("face",), FLOAT, r"shape \[1, 3, 64, 32\]"),
        ((3, 64, 64), ("face",), FLOAT, r"shape \[3, 64, 64\]"),
        ((1, 3, 64, 64), ("x", "w"), FLOAT, r"it has 2 inputs \(x, w\); one is needed"),
        ((1, 3, 64, 64), ("face",), 11, r"tensor\(double\); tensor\(float\) or"),
    ],
)
def test_a_file_that_is_no_restorer_is_refused_in_words(
    tmp_path: Path, shape: tuple[int, ...], inputs: tuple[str, ...], kind: int, words: str
) -> None:
    brightener(tmp_path / "gfpgan.onnx", shape=shape, inputs=inputs, kind=kind)
    with pytest.raises(RestorerError, match=words) as caught:
        load("cpu", tmp_path)
    assert str(caught.value).startswith("gfpgan: ")


def test_a_network_that_changes_the_shape_is_refused_when_it_runs(tmp_path: Path) -> None:
    halver(tmp_path / "gfpgan.onnx")
    with pytest.raises(RestorerError, match=r"gave \(1, 3, 32, 32\) for \(1, 3, 64, 64\)"):
        load("cpu", tmp_path).run([a_face()])


def test_a_face_of_another_size_is_refused(tmp_path: Path) -> None:
    brightener(tmp_path / "gfpgan.onnx")
    with pytest.raises(ValueError, match=r"uint8 \(64, 64, 3\) is needed"):
        load("cpu", tmp_path).run([a_face(32)])


@pytest.mark.parametrize("name", ["gfpgan_1.4.onnx", "GFPGANv1.3.onnx", "face-restorer.onnx"])
def test_the_usual_names_are_found(tmp_path: Path, name: str) -> None:
    (tmp_path / "other.onnx").touch()
    (tmp_path / "gfpgan.onnx").mkdir()
    assert find(tmp_path) is None
    (tmp_path / name).touch()
    assert find(tmp_path) == tmp_path / name


def test_without_a_file_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"gfpgan\*\.onnx\) into WEIGHTS_DIR"):
        load("cpu", tmp_path)
