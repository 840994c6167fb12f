"""A real face with a known pose for tests of lip-sync backends."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync.base import FaceSample, Image, LipItem, LipSync, Pose
from tests.unit.face_detect_utils.pictures import CENTRE, view

SIZE = (480, 400)
REST = (0.0, 0.0, 0.0, 0.0, 0.0)
OPEN = (0.8, 0.0, 0.0, 0.5, 0.0)
FEATURES = [
    REST,
    OPEN,
    (0.4, 1.0, 0.0, 1.0, 0.0),
    (0.5, 0.0, 1.0, 0.0, 0.0),
    (0.0, 0.0, 0.0, 0.0, 1.0),
    (1.0, 1.0, 1.0, 1.0, 1.0),
]


Feature = tuple[float, ...] | NDArray[np.float32]


def feature(values: Feature) -> NDArray[np.float32]:
    return np.array(values, np.float32)


def picture(scale: float = 2.0, turn_deg: float = 0.0, x: float = 0.0, y: float = 0.0) -> Image:
    """The face, its centre in the middle of SIZE, scaled, rolled and shifted."""
    return view(scale, turn_deg, (x, y), SIZE)


def pose(scale: float = 2.0, turn_deg: float = 0.0, x: float = 0.0, y: float = 0.0) -> Pose:
    """Where that face is."""
    cos, sin = math.cos(math.radians(turn_deg)), math.sin(math.radians(turn_deg))
    mouth = (222.0 - CENTRE[0], 138.0 - CENTRE[1])
    middle = (SIZE[0] / 2 + x, SIZE[1] / 2 + y)
    return Pose(
        middle[0],
        middle[1],
        100 * scale,
        math.radians(turn_deg + 2.5),
        middle[0] + scale * (mouth[0] * cos - mouth[1] * sin),
        middle[1] + scale * (mouth[0] * sin + mouth[1] * cos),
        33 * scale,
    )


def cut(image: Image, where: Pose, backend: LipSync) -> tuple[Image, Pose]:
    """The crop a backend asks for, padded by replication as the pipeline does, and its pose."""
    box = backend.crop_box(where)
    height, width = image.shape[:2]
    left, top = max(0, -box.x), max(0, -box.y)
    right = max(0, box.x + box.width - width)
    bottom = max(0, box.y + box.height - height)
    bordered = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REPLICATE)
    padded = np.asarray(bordered, np.uint8)
    x, y = box.x + left, box.y + top
    return padded[y : y + box.height, x : x + box.width], where.moved(-box.x, -box.y)


def samples(backend: LipSync, count: int = 4) -> list[FaceSample]:
    made = []
    for i in range(count):
        crop, where = cut(picture(x=2.0 * i), pose(x=2.0 * i), backend)
        made.append(FaceSample(crop, where, i / 5))
    return made


@cache
def _learned(name: str, backend: LipSync) -> Any:
    return backend.learn(samples(backend))


def learned(backend: LipSync) -> Any:
    """What the backend learns of the scene; learned once per backend."""
    return _learned(backend.name, backend)


def item(
    backend: LipSync, values: Feature = OPEN, turn_deg: float = 0.0, x: float = 0.0
) -> LipItem:
    crop, where = cut(picture(2.0, turn_deg, x), pose(2.0, turn_deg, x), backend)
    return LipItem(crop, where, feature(values), learned(backend))
