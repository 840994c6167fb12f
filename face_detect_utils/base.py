"""The contract of face detection: pictures in, faces out.

What it is not: tracking (track.py) or where the mouth lies (geometry.py). One contract test runs on
every detector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Face:
    """One face. All in pixels of the picture given; `points` are right eye, left eye, nose, right
    and left mouth corner (as seen in the picture: "right" is the person's), shape [5, 2], or None
    where the detector has none.
    """

    x_px: float
    y_px: float
    width_px: float
    height_px: float
    score: float
    points: NDArray[np.float32] | None = None

    @property
    def area_px(self) -> float:
        """Area of the box."""
        return self.width_px * self.height_px


class FaceDetector(ABC):
    """Finds faces. One thread at a time; `clone()` makes one for another."""

    name: str

    @abstractmethod
    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Faces of each BGR uint8 picture [H, W, 3], largest first; an empty list where there is
        none.
        """

    @abstractmethod
    def clone(self) -> FaceDetector:
        """A detector for another thread that shares what is heavy."""
