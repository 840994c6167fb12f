"""Where the face is in every frame of a source: tracked once, kept in the cache, faded at its ends.

What it is not: the tracker (face_detect_utils/track.py) or a lip-sync backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from numpy.typing import NDArray

from face_detect_utils.base import FaceDetector
from face_detect_utils.track import ROW_SIZE, FaceTracker, TrackedFace
from models.lipsync.base import Pose
from trans_dh_service.cache import load_arrays, save_arrays
from trans_dh_service.picture import small_bgr, small_gray, small_scale

CHUNK_FRAMES = 64
"""Frames per cache file, and at most so many are tracked again after a crash."""
FADE_S = 0.16
"""Time over which painting fades in where a face appears and out before it goes."""
_COLUMNS = 8
_VERSION = 1


class Span(Protocol):
    """The length and rate of one pass through a video (`source.Source` is one)."""

    frames: int
    fps: Fraction


class FaceBook:
    """One row per frame of one pass through the video: x, y, width, angle, mouth x, y, width (full
    pictures' pixels, radians) and score; NaN where there is no face. Rows are known from frame 0 up
    to but without `known`; one thread follows, others may read what is known.
    """

    def __init__(self, detector: FaceDetector, detect_every: int, span: Span, folder: Path) -> None:
        self.frames = span.frames
        self.known = 0
        self.fade_frames = min(8, max(2, round(FADE_S * span.fps)))
        self._rows: NDArray[np.float32] = np.full((self.frames, _COLUMNS), np.nan, np.float32)
        self._detector = detector.clone()
        self._every = detect_every
        self.folder = folder / f"faces-{detector.name}-{detect_every}-v{_VERSION}"
        self._tracker = FaceTracker(self._detector, detect_every)
        self._load()

    def follow(self, picture: av.VideoFrame) -> None:
        """Take frame number `known` of the video."""
        gray = small_gray(picture)
        face = self._tracker.update(gray, lambda: small_bgr(picture))
        if face is not None:
            self._rows[self.known] = _row(face, small_scale(picture.width, picture.height))
        self.known += 1
        if self.known % CHUNK_FRAMES == 0 or self.known == self.frames:
            self._save(gray)

    def pose(self, index: int) -> Pose | None:
        """The face in frame `index`, in pixels of the full picture."""
        row = self._rows[index]
        if np.isnan(row[0]):
            return None
        return Pose.of(row[:7])

    def gain(self, index: int) -> float:
        """How much of the patch is painted in frame `index`: 1, less near frames without a face.

        It depends on the rows alone, so it is the same forward, backward and after a resume. Needs
        the rows up to `index + fade_frames`.
        """
        low = max(0, index - self.fade_frames)
        near = np.isnan(self._rows[low : min(self.known, index + self.fade_frames + 1), 0])
        if not near.any():
            return 1.0
        distance = int(np.abs(np.flatnonzero(near) + low - index).min())
        return min(1.0, distance / (self.fade_frames + 1))

    def decided(self, index: int) -> bool:
        """Whether `gain(index)` is final."""
        return self.known > min(index + self.fade_frames, self.frames - 1)

    def with_face(self, indices: Sequence[int]) -> int:
        """How many of the frames `indices` have a face."""
        return int(np.count_nonzero(~np.isnan(self._rows[np.asarray(indices), 0])))

    def _save(self, gray: NDArray[np.uint8]) -> None:
        """Rows first, then the state that counts them: a crash between loses one chunk at most."""
        first = (self.known - 1) // CHUNK_FRAMES * CHUNK_FRAMES
        save_arrays(self._chunk(first), {"rows": self._rows[first : self.known]})
        state = {"known": np.array(self.known), "row": self._tracker.row(), "gray": gray}
        save_arrays(self.folder / "state.npz", state)

    def _load(self) -> None:
        state = load_arrays(self.folder / "state.npz")
        if state is None or {"known", "row", "gray"} - state.keys():
            return
        known = int(state["known"])
        if not 0 < known <= self.frames or state["row"].shape != (ROW_SIZE,):
            return
        for first in range(0, known, CHUNK_FRAMES):
            arrays = load_arrays(self._chunk(first))
            rows = None if arrays is None else arrays.get("rows")
            last = min(first + CHUNK_FRAMES, known)
            if rows is None or rows.ndim != 2 or rows.shape[1] != _COLUMNS:
                return
            if len(rows) < last - first:
                return
            self._rows[first:last] = rows[: last - first]
        gray = np.ascontiguousarray(state["gray"], np.uint8)
        self._tracker = FaceTracker.resume(self._detector, self._every, state["row"], gray)
        self.known = known

    def _chunk(self, first: int) -> Path:
        return self.folder / f"rows_{first // CHUNK_FRAMES:06d}.npz"


def _row(face: TrackedFace, scale: float) -> list[float]:
    lengths = (face.x_px, face.y_px, face.width_px)
    mouth = (face.mouth_x_px, face.mouth_y_px, face.mouth_px)
    return [
        *(value / scale for value in lengths),
        face.angle_rad,
        *(value / scale for value in mouth),
        face.score,
    ]
