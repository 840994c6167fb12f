"""The embedded lip-sync backend: speaks with the real picture's own lips.

What it is not: a neural renderer. It learns one picture of the face with its mouth nearly closed
(rest.py), lays it over each frame (align.py), opens and shapes the mouth by the feature (shape.py)
and paints the inside (mouth.py). The feature is float32 [5] in 0..1: opening (1 = the widest of
ordinary speech), width (corners out), rounding, teeth, closure (lips pressed); all 0 is a mouth at
rest, closed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.lipsync import mouth, rest
from models.lipsync.base import Box, FaceSample, LipItem, LipPatch, LipSync, Pose
from models.lipsync.lips import Lips, find_lips
from models.lipsync.plane import to_picture
from models.lipsync.shape import FEATURES

LEFT, TOP, RIGHT, BOTTOM = -0.5, -0.52, 0.5, 0.52
"""What of the face's plane a crop must show: from the eyes to below the chin."""
AT_REST: NDArray[np.float32] = np.zeros(FEATURES, np.float32)
"""The feature of a closed mouth at rest."""


class VisemeLips(LipSync):
    """See the module. Holds no state, so any thread may use it."""

    name = "viseme"
    speech = "viseme-audio"
    max_batch = 16

    def crop_box(self, pose: Pose) -> Box:
        """See `LipSync.crop_box`."""
        corners = np.array([[u, v, 1.0] for u in (LEFT, RIGHT) for v in (TOP, BOTTOM)])
        points = corners @ to_picture(pose)[:2].T
        left, top = (math.floor(v) for v in points.min(axis=0))
        right, bottom = (math.ceil(v) for v in points.max(axis=0))
        return Box(left, top, max(16, right - left), max(16, bottom - top))

    def study(self, sample: FaceSample) -> Lips:
        """See `LipSync.study`: the lips, some 6 ms."""
        return find_lips(sample.crop, sample.pose)

    def learn(self, samples: Sequence[FaceSample]) -> rest.Rest:
        """See `LipSync.learn`; at most 40 samples are looked at."""
        return rest.learn(samples)

    def dump(self, source: Any) -> dict[str, NDArray[Any]]:
        """See `LipSync.dump`."""
        return rest.dump(source)

    def restore(self, arrays: dict[str, NDArray[Any]]) -> rest.Rest:
        """See `LipSync.restore`."""
        return rest.restore(arrays)

    def render(self, items: Sequence[LipItem]) -> list[LipPatch]:
        """See `LipSync.render`.

        Raises:
            ValueError: a feature or a crop has another shape than it must have.
        """
        return [_render(item) for item in items]


def _render(item: LipItem) -> LipPatch:
    if item.feature.shape != (FEATURES,):
        raise ValueError(f"feature of shape {item.feature.shape}: ({FEATURES},) is needed")
    if item.crop.ndim != 3 or item.crop.shape[2] != 3 or item.crop.dtype != np.uint8:
        raise ValueError(
            f"crop of type {item.crop.dtype} and shape {item.crop.shape}: uint8 [H, W, 3] is needed"
        )
    return mouth.paint(item.source, item.crop, item.pose, item.feature)


def load(device: str, weights_dir: Path) -> VisemeLips:
    """The backend. It has no use for `device` ("cpu" or "cuda") nor for `weights_dir`."""
    del device, weights_dir
    return VisemeLips()
