"""The contract of a lip-sync backend: frames and audio features in, mouth patches out.

What it is not: face detection or video files; poses come from the caller in plain numbers. One
contract test runs on every backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Rect:
    """A rectangle's edges in pixels, not rounded."""

    left: float
    top: float
    right: float
    bottom: float

    def moved(self, dx_px: float, dy_px: float) -> Rect:
        """The same rectangle in a picture whose origin lies elsewhere."""
        return Rect(self.left + dx_px, self.top + dy_px, self.right + dx_px, self.bottom + dy_px)


@dataclass(frozen=True)
class Pose:
    """Where a face is, in pixels of the picture that goes with it.

    `x_px`, `y_px`: centre of the face box; `size_px`: its width; `angle_rad`: roll, positive
    clockwise in the picture; `mouth_x_px`, `mouth_y_px`: centre of the closed mouth; `mouth_px`:
    its width at rest. `face`: the tight upright rectangle from forehead to chin, as networks such
    as YuNet, SCRFD and S3FD give it (by proportion where the detector gives another).
    `landmarks`: 68 points in iBUG order, float32 [68, 2], where a landmark model was asked for.
    """

    x_px: float
    y_px: float
    size_px: float
    angle_rad: float
    mouth_x_px: float
    mouth_y_px: float
    mouth_px: float
    face: Rect | None = None
    landmarks: NDArray[np.float32] | None = field(default=None, compare=False)

    @classmethod
    def of(cls, numbers: NDArray[Any]) -> Pose:
        """A pose of its first seven values in order; without `face` and `landmarks`.

        Raises:
            ValueError: there are not seven.
        """
        x, y, size, angle, mouth_x, mouth_y, mouth = (float(value) for value in numbers)
        return cls(x, y, size, angle, mouth_x, mouth_y, mouth)

    @property
    def numbers(self) -> NDArray[np.float64]:
        """The seven values that `of` takes."""
        face = (self.x_px, self.y_px, self.size_px, self.angle_rad)
        return np.array((*face, self.mouth_x_px, self.mouth_y_px, self.mouth_px))

    def moved(self, dx_px: float, dy_px: float) -> Pose:
        """The same pose in a picture whose origin lies elsewhere."""
        marks = self.landmarks
        return replace(
            self,
            x_px=self.x_px + dx_px,
            y_px=self.y_px + dy_px,
            mouth_x_px=self.mouth_x_px + dx_px,
            mouth_y_px=self.mouth_y_px + dy_px,
            face=None if self.face is None else self.face.moved(dx_px, dy_px),
            landmarks=None if marks is None else marks + np.array((dx_px, dy_px), np.float32),
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
    """One frame of a video shown to `LipSync.learn`: crop [H, W, 3] BGR and the pose in it.
    `studied` is what `LipSync.study` found of it, if it was asked.
    """

    crop: Image
    pose: Pose
    time_s: float
    studied: Any = None


@dataclass(frozen=True, eq=False)
class LipItem:
    """One frame's work: crop [H, W, 3] BGR around the face, pose in the crop, the speech feature,
    the source's data.

    `source` is what `learn` returned for this video (after `attach`). `frame`: the picture's number
    in the source video, under which a backend may keep what it computes of the picture; `left_px`,
    `top_px`: where the crop's first pixel lies in that picture.
    """

    crop: Image
    pose: Pose
    feature: NDArray[np.float32]
    source: Any
    frame: int = 0
    left_px: int = 0
    top_px: int = 0


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
    items per call. `wants_landmarks`: poses should carry 68 points where there is a model for them.
    `infers`: `render` runs a network, so that a silent stretch is worth sparing. `learn_s`: how
    many seconds of a video `learn` wants to see; with 0 it is shown one frame.
    """

    name: str
    speech: str
    max_batch: int
    wants_landmarks: bool = False
    infers: bool = False
    learn_s: float = 4.0

    @abstractmethod
    def crop_box(self, pose: Pose) -> Box:
        """The rectangle of the frame that `render` needs for this pose (may reach beyond the
        frame's border).
        """

    def study(self, sample: FaceSample) -> Any:
        """What `learn` wants to know of one sample alone. It may be called on another thread while
        the next samples are cut, and need not be called at all. The default has no use for it.
        """
        return None

    @abstractmethod
    def learn(self, samples: Sequence[FaceSample]) -> Any:
        """What must be known of a source video before its frames can be rendered (rest pose,
        latents, ...).

        Samples come from the video's first `learn_s` seconds with a face, in order; at least one.
        Never None, which stands for a video without a face.
        """

    @abstractmethod
    def dump(self, source: Any) -> dict[str, NDArray[Any]]:
        """`source` as plain arrays, for the cache on disk."""

    @abstractmethod
    def restore(self, arrays: dict[str, NDArray[Any]]) -> Any:
        """The inverse of `dump`."""

    def attach(self, source: Any, folder: Path) -> Any:
        """`source` with a folder of this video's cache, for what is learned of each frame on the
        way (latents, masks). Jobs and processes share the folder; a folder that cannot be written
        costs time only. The default keeps nothing.
        """
        return source

    @abstractmethod
    def render(self, items: Sequence[LipItem]) -> list[LipPatch]:
        """One patch per item, in order. Called on the lane's thread with 1..max_batch items, maybe
        of several jobs.
        """
