"""Follows one face through a video: detection every k-th frame, optical flow between.

What it is not: a detector (any `FaceDetector` serves) or a landmark network. The flow (Lucas and
Kanade 1981, pyramids as in Bouguet 2000; a similarity is fitted by RANSAC) carries the face from
frame to frame without jitter; detections, which are noisy but do not drift, pull the carried pose
back slowly: a complementary filter. Poses do not depend on anything but the frames since the last
cut, and `row()` holds the whole state, so a resumed tracker goes on with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from face_detect_utils import flow
from face_detect_utils.base import Face, FaceDetector, Image, TrackedFace
from face_detect_utils.geometry import edges_of, mouth_of, overlap
from face_detect_utils.head import (
    HEAD_SIZE,
    Head,
    begun,
    corrected,
    head_of,
    moved,
    numbers_of,
    pulled,
    pulled_whole,
    square,
)

CUT_LEVEL = 26.0
"""Mean change of a 16x16 thumbnail, in grey levels, that means another scene."""
LOST_FRAMES = 30
"""Frames without a detection after which the face is given up."""
ROI_FACES = 1.9
"""Side of the square searched around a followed face, in face widths."""
EMPTY_WAITS = 2
"""Where there is no face the whole picture is searched this many times more seldom: it costs ten
times what a followed face costs."""
SAME_FACE = 0.3
"""Overlap from which a detection belongs to the face that is followed."""


_LEAD = 2
ROW_SIZE = _LEAD + HEAD_SIZE + 2 * flow.MAX_POINTS
"""Length of a state row: frames until the next detection, whether a face is followed, the head,
the points of the flow (NaN where there is none)."""


class FaceTracker:
    """Follows the largest face. Feed it every frame, in order; one thread at a time."""

    def __init__(self, detector: FaceDetector, detect_every: int) -> None:
        if detect_every < 1:
            raise ValueError(f"detect_every is {detect_every}: it must be at least 1")
        self._detector = detector
        self._every = detect_every
        self._track: Head | None = None
        self._points = flow.NO_POINTS
        self._before: Image | None = None
        self._wait = 0

    @classmethod
    def resume(
        cls,
        detector: FaceDetector,
        detect_every: int,
        row: NDArray[np.float64],
        gray: Image | None,
    ) -> FaceTracker:
        """A tracker that goes on where `row()` was taken.

        `gray` is the picture that the last `update` before `row()` was given; with None the face
        is searched anew around its last place.

        Raises:
            ValueError: the row has another length than `ROW_SIZE`.
        """
        if row.shape != (ROW_SIZE,):
            raise ValueError(f"tracker row of shape {row.shape}: ({ROW_SIZE},) is needed")
        tracker = cls(detector, detect_every)
        tracker._wait = int(row[0]) if gray is not None else 0
        if row[1] > 0:
            tracker._track = head_of(row[_LEAD : _LEAD + HEAD_SIZE].tolist())
        points = row[_LEAD + HEAD_SIZE :].reshape(-1, 2).astype(np.float32)
        tracker._points = points[~np.isnan(points[:, 0])]
        tracker._before = None if gray is None else gray.copy()
        return tracker

    def row(self) -> NDArray[np.float64]:
        """The whole state as float64 [ROW_SIZE], for `resume`."""
        row = np.full(ROW_SIZE, np.nan)
        row[:_LEAD] = self._wait, self._track is not None
        if self._track is not None:
            row[_LEAD : _LEAD + HEAD_SIZE] = numbers_of(self._track)
        flat = self._points.ravel()
        row[_LEAD + HEAD_SIZE :][: flat.size] = flat
        return row

    def update(self, gray: Image, bgr: Callable[[], Image]) -> TrackedFace | None:
        """The face in the next frame, or None.

        `gray` is uint8 [h, w], about 640 px on its long side; `bgr()` gives the same picture in
        colour [h, w, 3], or what else the detector sees, and is called only when that runs.
        """
        if self._before is not None and _is_cut(self._before, gray):
            self._forget()
        if self._track is not None:
            self._carry(gray)
        if self._wait <= 0:
            self._wait = self._every
            self._look(bgr())
        if self._track is not None and len(self._points) < flow.ENOUGH_POINTS:
            self._points = flow.seed(gray, self._track.x, self._track.y, self._track.width)
        self._wait -= 1
        self._before = gray.copy()
        return None if self._track is None else _told(self._track)

    def _forget(self) -> None:
        self._track, self._points, self._wait = None, flow.NO_POINTS, 0

    def _carry(self, gray: Image) -> None:
        """Move the track by the flow and by its share of the last detection's correction."""
        track = self._track
        if track is None:
            return
        move = None
        if self._before is not None:
            self._points, move = flow.follow(self._before, gray, self._points)
        if move is None:
            self._points, self._wait = flow.NO_POINTS, 0
            self._track = replace(track, unseen=track.unseen + LOST_FRAMES / 6)
        else:
            self._track = pulled(moved(track, move))
        if self._track.unseen > LOST_FRAMES or not _inside(self._track, gray):
            self._forget()
            self._wait = 0

    def _look(self, picture: Image) -> None:
        """Run the detector: around the followed face, or everywhere."""
        if self._track is None:
            self._acquire(picture)
            return
        track = self._track
        face = _same(self._search(picture, track), track)
        if face is not None:
            self._track = corrected(track, face, self._every)
            self._points = flow.NO_POINTS
        elif track.hits < 2:
            self._forget()
            self._wait = self._every
        else:
            self._track = replace(track, score=track.score * 0.8)

    def _acquire(self, picture: Image) -> None:
        """Start to follow the largest face; its box is the mean of searches at two more scales,
        since a single one is off by a few per cent.
        """
        faces = self._detector.detect([picture])[0]
        if not faces:
            self._wait = EMPTY_WAITS * self._every
            return
        first = max(faces, key=lambda face: face.area_px * face.score)
        track = begun(first)
        for zoom in (0.85, 1.15):
            again = _same(self._search(picture, track, zoom), track)
            if again is not None:
                track = pulled_whole(corrected(track, again, 1))
        # Below two hits the next miss drops the face: a chance detection is seldom found thrice.
        self._track = replace(track, hits=2.0 if track.hits >= 3 else 1.5)

    def _search(self, picture: Image, track: Head, zoom: float = 1.0) -> list[Face]:
        """Faces near the track, in pixels of the whole picture. `zoom` changes the size at which
        the detector sees them: cascades through the scale, networks, which scale by themselves,
        through the part of the picture.
        """
        height, width = picture.shape[:2]
        wanted = self._detector.search_px
        half = ROI_FACES / 2 * track.width / (zoom if wanted is None else 1.0)
        left, top = max(0, int(track.x - half)), max(0, int(track.y - half))
        right, bottom = min(width, int(track.x + half) + 1), min(height, int(track.y + half) + 1)
        part = picture[top:bottom, left:right]
        if min(part.shape[:2]) < 8:
            return []
        scale = 1.0 if wanted is None else zoom * wanted / track.width
        if scale != 1.0:
            kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=kind)
            part = np.asarray(small, np.uint8)
        return [_placed(face, scale, left, top) for face in self._detector.detect([part])[0]]


def _is_cut(before: Image, now: Image) -> bool:
    if before.shape != now.shape:
        return True
    small = [
        cv2.resize(g[::4, ::4], (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
        for g in (before, now)
    ]
    return float(np.abs(small[0] - small[1]).mean()) > CUT_LEVEL


def _inside(track: Head, gray: Image) -> bool:
    height, width = gray.shape
    return 0 <= track.x < width and 0 <= track.y < height and track.width >= 8


def _same(faces: list[Face], track: Head) -> Face | None:
    """The detection that is the followed face, if any."""
    half = track.width / 2
    here = Face(track.x - half, track.y - half, track.width, track.width, 1.0)
    best = max(faces, key=lambda face: overlap(face, here), default=None)
    return best if best is not None and overlap(best, here) >= SAME_FACE else None


def _placed(face: Face, scale: float, left: int, top: int) -> Face:
    """A detection in a scaled part of the picture, in pixels of the whole."""
    shift = np.array([left, top], np.float32)
    points = None if face.points is None else (face.points / scale + shift).astype(np.float32)
    return Face(
        face.x_px / scale + left,
        face.y_px / scale + top,
        face.width_px / scale,
        face.height_px / scale,
        face.score,
        points,
        face.tight,
    )


def _told(track: Head) -> TrackedFace:
    box = square(track)
    mouth = mouth_of(box, track.layout, track.angle)
    return TrackedFace(
        track.x,
        track.y,
        track.width,
        track.angle,
        mouth.x_px,
        mouth.y_px,
        mouth.width_px,
        track.score,
        edges_of(box, track.layout),
    )
