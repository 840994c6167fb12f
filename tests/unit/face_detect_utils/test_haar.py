"""What is special to the cascade."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from face_detect_utils import haar
from tests.unit.face_detect_utils.pictures import astronaut, gray


def test_takes_grey_pictures_too() -> None:
    detector = haar.HaarDetector()
    (grey,), (colour,) = detector.detect([gray(astronaut())]), detector.detect([astronaut()])
    assert [f.x_px for f in grey] == [f.x_px for f in colour]


def test_load_takes_any_device_and_folder() -> None:
    assert haar.load("cuda", Path("/nowhere")).name == "haar"


def test_a_missing_cascade_names_the_package_to_install() -> None:
    with pytest.raises(FileNotFoundError, match="opencv-python-headless"):
        haar._cascade("no_such_cascade.xml")


def test_the_pair_of_eyes_is_the_most_level_and_central_one() -> None:
    eyes = [(20, 30, 20, 20), (65, 31, 20, 20), (60, 70, 20, 20)]
    assert haar._best_pair(eyes, 110) == ((30.0, 40.0), (75.0, 41.0))


def test_one_eye_is_no_pair() -> None:
    assert haar._best_pair([(20, 30, 20, 20)], 110) is None


def test_a_face_without_two_eyes_has_no_points() -> None:
    picture = astronaut().copy()
    picture[85:112, 190:262] = 150
    for face in haar.HaarDetector().detect([picture])[0]:
        assert face.points is None


def test_an_empty_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        haar.HaarDetector().detect([np.zeros((0, 4, 3), np.uint8)])
