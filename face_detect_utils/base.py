"""The contracts of face detection and of landmarks: pictures in, faces and points out.

What it is not: tracking (track.py) or where the mouth lies (geometry.py). One contract test runs on
every detector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Face:
    """One face. All in pixels of the picture given; `points` are right eye, left eye, nose, right
    and left mouth corner (as seen in the picture: "right" is the person's), shape [5, 2], or None
    where the detector has none. `tight`: the box reaches from the forehead to the chin, and the
    points were seen, all five; else the box is a cascade's and only the eyes were seen.
    """

    x_px: float
    y_px: float
    width_px: float
    height_px: float
    score: float
    points: NDArray[np.float32] | None = None
    tight: bool = False

    @property
    def area_px(self) -> float:
        """Area of the box."""
        return self.width_px * self.height_px


@dataclass(frozen=True)
class Edges:
    """The tight upright rectangle of a face from forehead to chin, in pixels."""

    left_px: float
    top_px: float
    right_px: float
    bottom_px: float

    @property
    def height_px(self) -> float:
        """Its height."""
        return self.bottom_px - self.top_px

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle, x and y."""
        return (self.left_px + self.right_px) / 2, (self.top_px + self.bottom_px) / 2


@dataclass(frozen=True)
class TrackedFace:
    """A face in one frame, pixels of the picture given: centre and width of its box (in the meaning
    of a cascade's, whatever the detector), roll (positive clockwise), centre and width of its
    closed mouth, how surely it is a face (0..1), and the tight rectangle.
    """

    x_px: float
    y_px: float
    width_px: float
    angle_rad: float
    mouth_x_px: float
    mouth_y_px: float
    mouth_px: float
    score: float
    edges: Edges

    def unscaled(self, scale: float) -> TrackedFace:
        """The same face in the picture of which this one is a copy scaled by `scale`."""
        return TrackedFace(
            self.x_px / scale,
            self.y_px / scale,
            self.width_px / scale,
            self.angle_rad,
            self.mouth_x_px / scale,
            self.mouth_y_px / scale,
            self.mouth_px / scale,
            self.score,
            Edges(*(value / scale for value in astuple(self.edges))),
        )

    def moved(self, dx_px: float, dy_px: float) -> TrackedFace:
        """The same face in a picture whose origin lies elsewhere."""
        edges = self.edges
        return replace(
            self,
            x_px=self.x_px + dx_px,
            y_px=self.y_px + dy_px,
            mouth_x_px=self.mouth_x_px + dx_px,
            mouth_y_px=self.mouth_y_px + dy_px,
            edges=Edges(
                edges.left_px + dx_px,
                edges.top_px + dy_px,
                edges.right_px + dx_px,
                edges.bottom_px + dy_px,
            ),
        )


class FaceDetector(ABC):
    """Finds faces. One thread at a time; `clone()` makes one for another. `search_px`: width that
    a face should have in a small picture given to `detect`; None where any will do.
    `sees_grey`: it looks at brightness alone and takes pictures [H, W], too.
    """

    name: str
    search_px: float | None = None
    sees_grey: bool = False

    @abstractmethod
    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """Faces of each BGR uint8 picture [H, W, 3], largest first; an empty list where there is
        none.
        """

    @abstractmethod
    def clone(self) -> FaceDetector:
        """A detector for another thread that shares what is heavy."""


class LandmarkModel(ABC):
    """Finds 68 points of faces that are followed already. Holds no state, so any thread may use it.
    `name` tells one network from another, as part of a file's name.
    """

    name: str

    @abstractmethod
    def points(self, image: Image, faces: Sequence[TrackedFace]) -> NDArray[np.float32]:
        """The points [N, 68, 2] (x, y), in iBUG order, of N faces in a BGR uint8 picture
        [H, W, 3], in its pixels.
        """
