"""Faces by OpenCV's frontal face cascade (alt2), which ships inside the cv2 package: the default
that needs no download.

What it is not: good at profiles or at faces rolled by more than about 20°. The eyes come from
OpenCV's eye cascade; `points` is None where it does not see two of them. Method: Viola and Jones,
"Rapid object detection using a boosted cascade of simple features", CVPR 2001.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from face_detect_utils.base import Face, FaceDetector, Image
from face_detect_utils.geometry import points_from_eyes

LONG_SIDE_PX = 480
"""Pictures are searched at no more than this size: the cost grows with the area, and a face of 5 %
of the long side is still 24 pixels wide."""
MIN_FACE_PX = 24
SCALE_STEP = 1.15
MIN_NEIGHBOURS = 4
SCORE_FULL = 60.0
"""The cascade's vote at which a face scores 0.5 or more of the range 0..1."""
EYE_BOX_PX = 110
"""Width to which a face box is scaled for the search of its eyes."""


class HaarDetector(FaceDetector):
    """The cascade. Holds scratch memory inside cv2, so one thread at a time."""

    name = "haar"
    search_px = 48.0  # there a face costs a tenth of what the whole picture does
    sees_grey = True

    def __init__(self) -> None:
        self._faces = _cascade("haarcascade_frontalface_alt2.xml")
        self._eyes = _cascade("haarcascade_eye.xml")

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """See `FaceDetector.detect`. Grey pictures [H, W] are taken too."""
        return [self._detect(image) for image in images]

    def clone(self) -> HaarDetector:
        """A new one: a cascade is small and cannot be shared between threads."""
        return HaarDetector()

    def _detect(self, image: Image) -> list[Face]:
        _check(image)
        scale = min(1.0, LONG_SIDE_PX / max(image.shape[:2]))
        grey = image if image.ndim == 2 else _image(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        if scale < 1.0:
            grey = _image(cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA))
        grey = _image(cv2.equalizeHist(grey))
        boxes, _, votes = self._faces.detectMultiScale3(
            grey,
            scaleFactor=SCALE_STEP,
            minNeighbors=MIN_NEIGHBOURS,
            minSize=(MIN_FACE_PX, MIN_FACE_PX),
            outputRejectLevels=True,
        )
        found = [self._face(grey, box, vote, scale) for box, vote in zip(boxes, votes, strict=True)]
        return sorted(found, key=lambda face: -face.area_px)

    def _face(self, grey: Image, box: Sequence[int], vote: float, scale: float) -> Face:
        x, y, width, height = (float(v) for v in box)
        points = self._points(grey, box)
        return Face(
            x / scale,
            y / scale,
            width / scale,
            height / scale,
            float(np.clip(0.5 + float(vote) / (2 * SCORE_FULL), 0.0, 1.0)),
            None if points is None else points / np.float32(scale),
        )

    def _points(self, grey: Image, box: Sequence[int]) -> NDArray[np.float32] | None:
        """Five points in pixels of `grey`, or None without two eyes."""
        x, y, width, height = (int(v) for v in box)
        top = y + int(0.15 * height)
        upper = grey[top : y + int(0.6 * height), x : x + width]
        scale = EYE_BOX_PX / width
        upper = _image(cv2.resize(upper, None, fx=scale, fy=scale))
        eyes = self._eyes.detectMultiScale(upper, 1.15, 3, minSize=(18, 18), maxSize=(48, 48))
        pair = _best_pair(eyes, EYE_BOX_PX)
        if pair is None:
            return None
        right, left = ((ex / scale + x, ey / scale + top) for ex, ey in pair)
        return points_from_eyes(right, left, width)


def load(device: str, weights_dir: Path) -> HaarDetector:
    """The detector. It has no use for `device` ("cpu" or "cuda") nor for `weights_dir`."""
    del device, weights_dir
    return HaarDetector()


def _cascade(name: str) -> cv2.CascadeClassifier:
    path = Path(cv2.__file__).parent / "data" / name
    cascade = cv2.CascadeClassifier()
    if not path.is_file() or not cascade.load(str(path)):
        raise FileNotFoundError(
            f"cascade {name} is not in {path.parent}: install opencv-python-headless 4.x "
            "(version 5 wheels carry no cascades)"
        )
    return cascade


def _image(picture: object) -> Image:
    """cv2's answer as what it is, uint8; no copy."""
    return np.asarray(picture, np.uint8)


def _check(image: Image) -> None:
    if image.dtype != np.uint8 or image.ndim not in (2, 3) or min(image.shape[:2]) < 1:
        raise ValueError(
            f"picture of type {image.dtype} and shape {image.shape}: uint8 [H, W, 3] is needed"
        )


def _best_pair(
    eyes: Sequence[Sequence[int]], width_px: float
) -> tuple[tuple[float, float], tuple[float, float]] | None:
    """Centres of the two boxes that look most like a pair of eyes (left in the picture first):
    apart as eyes are, roughly level, about the middle.
    """
    centres = sorted((x + w / 2.0, y + h / 2.0) for x, y, w, h in eyes)
    best, cost = None, 0.35
    for i, a in enumerate(centres):
        for b in centres[i + 1 :]:
            dx, dy = (b[0] - a[0]) / width_px, (b[1] - a[1]) / width_px
            middle = (a[0] + b[0]) / (2 * width_px)
            now = abs(dx - 0.4) + abs(dy) + abs(middle - 0.5)
            if now < cost and dx > 2 * abs(dy):
                best, cost = (a, b), now
    return best
