"""The contract of a lip-sync backend: frames and audio features in, mouth patches out.

What it is not: face detection or video files; poses come from the caller in plain numbers. One
contract test runs on every backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Pose:
    """Where a face is, in pixels of the picture that goes with it.

    `x_px`, `y_px`: centre of the face box; `size_px`: its width; `angle_rad`: roll, positive
    clockwise in the picture; `mouth_x_px`, `mouth_y_px`: centre of the closed mouth; `mouth_px`:
    its width at rest.
    """

    x_px: float
    y_px: float
    size_px: float
    angle_rad: float
    mouth_x_px: float
    mouth_y_px: float
    mouth_px: float

    def moved(self, dx_px: float, dy_px: float) -> Pose:
        """The same pose in a picture whose origin lies elsewhere."""
        return Pose(
            self.x_px + dx_px,
            self.y_px + dy_px,
            self.size_px,
            self.angle_rad,
            self.mouth_x_px + dx_px,
            self.mouth_y_px + dy_px,
            self.mouth_px,
        )


@dataclass(frozen=True)
class Box:
    """A rectangle in whole pixels: left, top, width, height."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, eq=False)
class FaceSample:
    """One frame of a video shown to `LipSync.learn`: crop [H, W, 3] BGR and the pose in it."""

    crop: Image
    pose: Pose
    time_s: float


@dataclass(frozen=True, eq=False)
class LipItem:
    """One frame's work: crop [H, W, 3] BGR around the face, pose in the crop, the speech feature,
    the source's data.

    `source` is what `learn` returned for this video.
    """

    crop: Image
    pose: Pose
    feature: NDArray[np.float32]
    source: Any


@dataclass(frozen=True, eq=False)
class LipPatch:
    """What to paint: image [h, w, 3] BGR and weight [h, w] float32 in 0..1, at `x`, `y` in the
    item's crop.
    """

    image: Image
    weight: NDArray[np.float32]
    x: int
    y: int


class LipSync(ABC):
    """A backend. `speech` names the audio model whose features it takes; `max_batch` the most
    items per call.
    """

    name: str
    speech: str
    max_batch: int

    @abstractmethod
    def crop_box(self, pose: Pose) -> Box:
        """The rectangle of the frame that `render` needs for this pose (may reach beyond the
        frame's border).
        """

    @abstractmethod
    def learn(self, samples: Sequence[FaceSample]) -> Any:
        """What must be known of a source video before its frames can be rendered (rest pose,
        latents, ...).

        Samples come from the video's first seconds, in order; at least one.
        """

    @abstractmethod
    def dump(self, source: Any) -> dict[str, NDArray[Any]]:
        """`source` as plain arrays, for the cache on disk."""

    @abstractmethod
    def restore(self, arrays: dict[str, NDArray[Any]]) -> Any:
        """The inverse of `dump`."""

    @abstractmethod
    def render(self, items: Sequence[LipItem]) -> list[LipPatch]:
        """One patch per item, in order. Called on the lane's thread with 1..max_batch items, maybe
        of several jobs.
        """
