"""Pictures with a real face for tests: scikit-image's public-domain photograph of an astronaut."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import skimage.data

from face_detect_utils.base import Face, FaceDetector, Image
from face_detect_utils.haar import HaarDetector

CENTRE = (226.0, 114.0)
"""Centre of the face in the photograph, pixels; its width is about 100."""


@cache
def astronaut() -> Image:
    """The photograph, BGR [512, 512, 3]."""
    photograph: Image = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(photograph[:, :, ::-1])


def view(
    scale: float = 2.0,
    turn_deg: float = 0.0,
    shift: tuple[float, float] = (0.0, 0.0),
    size: tuple[int, int] = (480, 360),
) -> Image:
    """The face in the middle of a picture of `size` (width, height), scaled, rolled (positive
    clockwise) and shifted.
    """
    matrix = cv2.getRotationMatrix2D(CENTRE, -turn_deg, scale)
    matrix[:, 2] += np.array(size) / 2 - np.array(CENTRE) + np.array(shift)
    seen = cv2.warpAffine(
        astronaut(), matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(seen, np.uint8)


def gray(picture: Image) -> Image:
    """Its grey picture [H, W]."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)


class Network(FaceDetector):
    """A cascade that answers as a network does: tight boxes, five points where there are eyes."""

    name = "network"

    def __init__(self, pointed: bool = True) -> None:
        self.pointed = pointed
        self.cascade = HaarDetector()
        self.shapes: list[tuple[int, ...]] = []

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        self.shapes += [image.shape for image in images]
        return [[self._tight(f) for f in faces] for faces in self.cascade.detect(images)]

    def clone(self) -> Network:
        return Network(self.pointed)

    def _tight(self, face: Face) -> Face:
        x, y, width = face.x_px, face.y_px, face.width_px
        x, y = x + 0.12 * width, y - 0.05 * width
        points = face.points if self.pointed else None
        return Face(x, y, 0.76 * width, 1.13 * width, face.score, points, tight=True)


class Scripted(FaceDetector):
    """Finds nothing where the picture is flat, else what the script says, in the whole picture's
    middle: a face that fills `share` of the picture's height.
    """

    name = "scripted"

    def __init__(self, share: float = 0.5, blind: bool = False) -> None:
        self.share = share
        self.blind = blind
        self.calls = 0

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        self.calls += 1
        return [self._one(image) for image in images]

    def clone(self) -> Scripted:
        return Scripted(self.share, self.blind)

    def _one(self, image: Image) -> list[Face]:
        if self.blind or float(image.std()) < 2:
            return []
        height, width = image.shape[:2]
        side = self.share * height
        return [Face((width - side) / 2, (height - side) / 2, side, side, 0.9)]
