"""Where a user's files are found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from face_detect_utils import files


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_weights_dir_goes_before_its_face_folder_and_before_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "RESOURCES", tmp_path / "resources")
    weights, name = tmp_path / "weights", "scrfd_10g_bnkps.onnx"
    places = [tmp_path / "resources" / name, weights / "face" / name, weights / name]
    for place in places:
        touch(place)
        assert files.find(files.SCRFD, weights) == place


def test_the_newest_yunet_of_full_precision_is_taken(tmp_path: Path) -> None:
    names = ["yunet_n_320_320.onnx", "face_detection_yunet_2022mar.onnx"]
    names += ["face_detection_yunet_2023mar_int8.onnx", "face_detection_yunet_2023mar.onnx"]
    taken = []
    for name in names:
        touch(tmp_path / name)
        found = files.find(files.YUNET, tmp_path)
        taken.append(found.name if found else "")
    assert taken == names


def test_an_scrfd_with_points_goes_first(tmp_path: Path) -> None:
    touch(tmp_path / "scrfd_10g.onnx", tmp_path / "scrfd_2.5g_bnkps.onnx")
    found = files.find(files.SCRFD, tmp_path)
    assert found is not None
    assert found.name == "scrfd_2.5g_bnkps.onnx"


@pytest.mark.parametrize(
    "name", ["facemesh468_192.onnx", "pfld_landmark_68.onnx", "mesh_468.onnx", "landmarks68.onnx"]
)
def test_landmark_files_are_known_by_their_names(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    assert files.need("face landmarks", files.LANDMARKS, tmp_path) == tmp_path / name


def test_folders_and_other_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "yunet.onnx").mkdir()
    touch(tmp_path / "yunet.txt")
    assert files.find(files.YUNET, tmp_path) is None


def test_asking_imports_nothing_heavy() -> None:
    code = (
        "import sys, face_detect_utils.files; print({'cv2', 'numpy', 'torch'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
