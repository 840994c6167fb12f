"""Where the face is in every frame of a source: tracked once, kept in the cache, faded at its ends,
its tight rectangle steadied.

What it is not: the tracker (face_detect_utils/track.py) or a lip-sync backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from face_detect_utils.base import FaceDetector, LandmarkModel, TrackedFace
from face_detect_utils.boxes import WINDOW, smooth_boxes
from face_detect_utils.track import ROW_SIZE, FaceTracker
from models.lipsync.base import Box, Pose, Rect
from trans_dh_service.cache import load_arrays, save_arrays
from trans_dh_service.compose import colours_for, cut
from trans_dh_service.picture import small_bgr, small_gray, small_scale

CHUNK_FRAMES = 64
"""Frames per cache file, and at most so many are tracked again after a crash."""
FADE_S = 0.16
"""Time over which painting fades in where a face appears and out before it goes."""
LANDMARK_REACH = 0.95
"""Half the side of the square around a face that a landmark model is shown, in heights of its tight
rectangle: enough for the models' own squares at a roll of 20 degrees."""
JUMP = 0.5
"""A face that moves by more than this share of its width between two frames is another one."""
_COLUMNS = 12
_MARKS = (68, 2)
_VERSION = 3


class Span(Protocol):
    """The length and rate of one pass through a video (`source.Source` is one)."""

    frames: int
    fps: Fraction


class FaceBook:
    """One row per frame of one pass through the video: x, y, width, angle, mouth x, y, width (full
    pictures' pixels, radians), score and the tight rectangle's edges; NaN where there is no face.
    With a landmark model 68 points per frame, too (0.8 MB per minute of video). All is known from
    frame 0 up to but without `known`; one thread follows, others may read what is known.
    """

    def __init__(
        self,
        detector: FaceDetector,
        detect_every: int,
        span: Span,
        folder: Path,
        landmarks: LandmarkModel | None = None,
    ) -> None:
        self.frames = span.frames
        self.known = 0
        self.fade_frames = min(8, max(2, round(FADE_S * span.fps)))
        self._rows: NDArray[np.float32] = np.full((self.frames, _COLUMNS), np.nan, np.float32)
        self._landmarks = landmarks
        # Not filled, so that memory grows only with what is known.
        count = 0 if landmarks is None else self.frames
        self._marks: NDArray[np.float32] = np.empty((count, *_MARKS), np.float32)
        self._detector = detector.clone()
        self._every = detect_every
        points = "" if landmarks is None else f"-{landmarks.name}"
        self.folder = folder / f"faces-{detector.name}-{detect_every}{points}-v{_VERSION}"
        self._tracker = FaceTracker(self._detector, detect_every)
        self._gray: NDArray[np.uint8] | None = None
        self._load()

    def refresh(self) -> None:
        """Take over what other processes have learned of this video since."""
        self._load()

    def keep(self) -> None:
        """Write what is known so far, for others who follow the same video."""
        if self._gray is not None:
            self._save(self._gray)

    def follow(self, picture: av.VideoFrame) -> None:
        """Take frame number `known` of the video."""
        gray = self._gray = small_gray(picture)
        grey = self._detector.sees_grey
        small = self._tracker.update(gray, lambda: gray if grey else small_bgr(picture))
        if small is not None:
            face = small.unscaled(small_scale(picture.width, picture.height))
            self._rows[self.known] = _row(face)
            if self._landmarks is not None:
                self._marks[self.known] = _marks(self._landmarks, picture, face)
        self.known += 1
        if self.known % CHUNK_FRAMES == 0 or self.known == self.frames:
            self._save(gray)

    def pose(self, index: int) -> Pose | None:
        """The face in frame `index`, in pixels of the full picture. `face` is steadied as Wav2Lip's
        boxes are, so it needs the rows that `decided` waits for.
        """
        pose = self.glimpse(index)
        return None if pose is None else replace(pose, face=Rect(*self._steady(index)))

    def glimpse(self, index: int) -> Pose | None:
        """The same from the frame's own row alone: `face` as it was tracked."""
        row = self._rows[index]
        if np.isnan(row[0]):
            return None
        marks = None if self._landmarks is None else self._marks[index].copy()
        return replace(Pose.of(row[:7]), face=Rect(*row[8:].tolist()), landmarks=marks)

    def _steady(self, index: int) -> list[float]:
        """The smoothed edges at `index`. The rule looks ahead; it looks back only from the last
        frames of a track, where the mean of the last `WINDOW` rows stands.
        """
        end = index + 1
        while end < min(self.known, index + WINDOW) and self._same(end - 1, end):
            end += 1
        start = index
        while start > max(0, end - WINDOW) and self._same(start - 1, start):
            start -= 1
        smooth = smooth_boxes(self._rows[start:end, 8:].astype(np.float64))
        edges: list[float] = smooth[index - start].tolist()
        return edges

    def _same(self, one: int, other: int) -> bool:
        """Whether two frames side by side show the same face; its place does not jump."""
        rows = self._rows[[one, other]]
        return bool(np.abs(rows[0, :2] - rows[1, :2]).max() <= JUMP * rows[0, 2])

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
        """Whether `pose(index)` and `gain(index)` are final."""
        return self.known >= self.horizon(index)

    def horizon(self, index: int) -> int:
        """How many rows must be known before `pose(index)` and `gain(index)` are final."""
        return min(index + max(self.fade_frames, WINDOW - 1) + 1, self.frames)

    def with_face(self, indices: Sequence[int]) -> int:
        """How many of the frames `indices` have a face."""
        return int(np.count_nonzero(~np.isnan(self._rows[np.asarray(indices), 0])))

    def _save(self, gray: NDArray[np.uint8]) -> None:
        """Rows first, then the state that counts them: a crash between loses one chunk at most.
        What another process has written beyond them stays.
        """
        stored = self._stored()
        if stored is not None and int(stored["known"]) >= self.known:
            return
        first = (self.known - 1) // CHUNK_FRAMES * CHUNK_FRAMES
        chunk = {"rows": self._rows[first : self.known], "marks": self._marks[first : self.known]}
        save_arrays(self._chunk(first), chunk)
        state = {"known": np.array(self.known), "row": self._tracker.row(), "gray": gray}
        save_arrays(self.folder / "state.npz", state)

    def _stored(self) -> dict[str, NDArray[Any]] | None:
        """The state on disk, or None where there is none that fits."""
        state = load_arrays(self.folder / "state.npz")
        if state is None or {"known", "row", "gray"} - state.keys():
            return None
        fits = 0 < int(state["known"]) <= self.frames and state["row"].shape == (ROW_SIZE,)
        return state if fits else None

    def _load(self) -> None:
        state = self._stored()
        if state is None or int(state["known"]) <= self.known:
            return
        known = int(state["known"])
        for first in range(self.known // CHUNK_FRAMES * CHUNK_FRAMES, known, CHUNK_FRAMES):
            if not self._load_chunk(first, min(first + CHUNK_FRAMES, known)):
                # A state whose rows are damaged would keep them from being written again.
                with suppress(OSError):
                    (self.folder / "state.npz").unlink()
                self._rows[self.known :] = np.nan
                return
        gray = self._gray = np.ascontiguousarray(state["gray"], np.uint8)
        self._tracker = FaceTracker.resume(self._detector, self._every, state["row"], gray)
        self.known = known

    def _load_chunk(self, first: int, last: int) -> bool:
        """Read the rows of one file; whether they were there, whole."""
        arrays = load_arrays(self._chunk(first)) or {}
        for name, into in (("rows", self._rows), ("marks", self._marks)):
            part = arrays.get(name, np.zeros(0))
            count = min(last, len(into)) - min(first, len(into))
            if part.shape[1:] != into.shape[1:] or len(part) < count:
                return False
            into[first : first + count] = part[:count]
        return True

    def _chunk(self, first: int) -> Path:
        return self.folder / f"rows_{first // CHUNK_FRAMES:06d}.npz"


def _row(face: TrackedFace) -> list[float]:
    edges = face.edges
    return [
        *(face.x_px, face.y_px, face.width_px, face.angle_rad),
        *(face.mouth_x_px, face.mouth_y_px, face.mouth_px, face.score),
        *(edges.left_px, edges.top_px, edges.right_px, edges.bottom_px),
    ]


def _marks(
    landmarks: LandmarkModel, picture: av.VideoFrame, face: TrackedFace
) -> NDArray[np.float32]:
    """The face's 68 points in pixels of the full picture; NaN where it lies outside."""
    half = LANDMARK_REACH * face.edges.height_px
    x, y = face.edges.centre
    box = Box(int(x - half), int(y - half), int(2 * half) + 1, int(2 * half) + 1)
    crop = cut(picture, box, colours_for(picture.colorspace, picture.color_range, picture.height))
    if crop is None:
        return np.full(_MARKS, np.nan, np.float32)
    (near,) = landmarks.points(crop.image, [face.moved(-crop.x, -crop.y)])
    marks: NDArray[np.float32] = near + np.array((crop.x, crop.y), np.float32)
    return marks
