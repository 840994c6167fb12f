"""68 points of a face, in iBUG order, by a user's ONNX network of 68 or of 468 points.

What it is not: a detector (a followed face goes in), and nothing is smoothed: a face's points
depend on its picture and its pose alone. One input [N, 3, S, S], RGB in 0..1, N free or 1; an
output of 136 or [68, 2] values per face (iBUG order; in 0..1 of the input, or in its pixels), or
of [468, 2 or 3] (MediaPipe's face mesh, same two units); other outputs are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from face_detect_utils import files
from face_detect_utils.anchors import InputSpec, check_picture
from face_detect_utils.base import Image, LandmarkModel, TrackedFace
from runtime.sessions import open_session

Points = NDArray[np.float32]
Matrix = NDArray[np.float64]

SIDE = {68: 1.2, 468: 1.4}
"""Side of the square that the network sees, in heights of the tight rectangle. Networks of 68
points are trained on crops with 10 to 25 % around the face; the mesh on 1.5 of its own points'
extent (MediaPipe, face_landmark graph), which is 0.93 of the rectangle's height."""
DOWN = {68: 0.0, 468: 0.045}
"""How far below the rectangle's centre that of the square lies: the mesh ends at the hair."""
DEFAULT_PX = 192
"""Input side where the file leaves it open."""
UNIT_MOST = 4.0
"""Answers beyond this are pixels, not shares of the input."""

# The mesh's points that lie nearest to iBUG's, by the names of its contours. Right and left are the
# person's. Jaw: of the face's outline, those nearest to equal steps from ear to chin.
_JAW = (127, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 356)
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_NOSE = (168, 197, 5, 4, 98, 97, 2, 326, 327)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_LIPS_OUTSIDE = (61, 40, 37, 0, 267, 270, 291, 321, 314, 17, 84, 91)
_LIPS_INSIDE = (78, 81, 13, 311, 308, 402, 14, 178)
IBUG_OF_MESH = np.array(_JAW + _BROWS + _NOSE + _EYES + _LIPS_OUTSIDE + _LIPS_INSIDE)
"""Of the 468 points of MediaPipe's face mesh, the 68 of iBUG 300-W, in its order."""


class OnnxLandmarks(LandmarkModel):
    """See the module; `name` is the file's."""

    def __init__(self, path: Path, device: str) -> None:
        """Open the file on `device` ("cpu" or "cuda").

        Raises:
            ValueError: it gives neither 68 nor 468 points.
            ProviderError, FileNotFoundError: see `runtime.sessions.open_session`.
        """
        self.name = path.stem
        self._path = path
        self._session: Any = open_session(path, device)
        self._spec = InputSpec.read(self._session, path)
        if self._spec.width_px != self._spec.height_px:
            raise ValueError(
                f"{path.name}: the input is {self._spec.width_px}x{self._spec.height_px}; a square"
                " is needed"
            )
        self._size = self._spec.width_px or DEFAULT_PX
        self._output, self._count = self._find_output()

    def points(self, image: Image, faces: Sequence[TrackedFace]) -> Points:
        """See `LandmarkModel.points`.

        Raises:
            ValueError: the picture is none.
        """
        check_picture(image)
        step = len(faces) if self._spec.batched else 1
        made = [self._some(image, faces[i : i + step]) for i in range(0, len(faces), step or 1)]
        return np.concatenate(made) if made else np.zeros((0, 68, 2), np.float32)

    def _some(self, image: Image, faces: Sequence[TrackedFace]) -> Points:
        views = [self._view(image, face) for face in faces]
        stack = np.stack([view for view, _ in views])[..., ::-1].transpose(0, 3, 1, 2)
        blob = np.ascontiguousarray(stack, np.float32) / np.float32(255)
        (answer,) = self._session.run([self._output], {self._spec.name: blob})
        found = np.asarray(answer, np.float64).reshape(len(faces), self._count, -1)[..., :2]
        if self._count == 468:
            found = found[:, IBUG_OF_MESH]
        if np.abs(found).max() <= UNIT_MOST:
            found = found * self._size
        # From edges of pixels to their centres, then back into the picture.
        placed = [
            (spots - 0.5) @ back[:, :2].T + back[:, 2]
            for spots, (_, back) in zip(found, views, strict=True)
        ]
        return np.array(placed, np.float32)

    def _view(self, image: Image, face: TrackedFace) -> tuple[Image, Matrix]:
        """The face upright in the network's square, and the map from there into the picture."""
        x, y, side = square_of(face, self._count)
        cos, sin = (f(face.angle_rad) * side / self._size for f in (math.cos, math.sin))
        half = (self._size - 1) / 2
        back = np.array(
            [[cos, -sin, x - cos * half + sin * half], [sin, cos, y - sin * half - cos * half]]
        )
        return _sampled(image, back, self._size, side / self._size), back

    def _find_output(self) -> tuple[str, int]:
        for out in self._session.get_outputs():
            sizes = tuple(size for size in out.shape[1:] if size != 1)
            count = {(136,): 68, (68, 2): 68, (468, 3): 468, (468, 2): 468, (1404,): 468}.get(sizes)
            if count is not None:
                return str(out.name), count
        shapes = ", ".join(f"{out.name} {out.shape}" for out in self._session.get_outputs())
        raise ValueError(
            f"{self._path.name} has the outputs {shapes}; 68 points ([N, 136] or [N, 68, 2]) or 468"
            " ([N, 468, 3]) are needed"
        )


def square_of(face: TrackedFace, count: int) -> tuple[float, float, float]:
    """Centre and side, in the picture's pixels, of what a network of `count` points is shown of a
    face; it is rolled as the face is.
    """
    height, (x, y) = face.edges.height_px, face.edges.centre
    down = DOWN[count] * height
    x, y = x - math.sin(face.angle_rad) * down, y + math.cos(face.angle_rad) * down
    return x, y, max(8.0, SIDE[count] * height)


def find(weights_dir: Path) -> Path | None:
    """The file that `load` would take; None where there is none."""
    return files.find(files.LANDMARKS, weights_dir)


def load(device: str, weights_dir: Path) -> OnnxLandmarks:
    """The network on `device` ("cpu" or "cuda"), from the file in `weights_dir`.

    Raises:
        FileNotFoundError: there is no file.
        ValueError, ProviderError: it cannot be used.
    """
    return OnnxLandmarks(files.need("face landmarks", files.LANDMARKS, weights_dir), device)


def _sampled(image: Image, back: Matrix, size: int, shrink: float) -> Image:
    """The square whose pixel p shows the picture at `back` · p. Where it shrinks the picture, the
    part around it is shrunk by area first, so that texture does not turn into noise.
    """
    kind = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    if shrink > 1.5:
        corners = np.array([[0, 0], [size, 0], [0, size], [size, size]]) @ back[:, :2].T
        low = np.floor(corners.min(axis=0) + back[:, 2]).astype(int) - 2
        high = np.ceil(corners.max(axis=0) + back[:, 2]).astype(int) + 2
        left, top = np.clip(low, 0, np.array(image.shape[1::-1]) - 1).tolist()
        part = image[top : max(top + 1, int(high[1])), left : max(left + 1, int(high[0]))]
        small = [max(1, round(side / shrink)) for side in part.shape[1::-1]]
        image = np.asarray(cv2.resize(part, small, interpolation=cv2.INTER_AREA), np.uint8)
        fit = np.array(small) / np.array(part.shape[1::-1])
        moved = back - np.array([[0, 0, left], [0, 0, top]])
        moved[:, 2] += 0.5  # a shrunk picture's pixel centres lie half a pixel in
        back = moved * fit[:, None]
        back[:, 2] -= 0.5
    return np.asarray(cv2.warpAffine(image, back, (size, size), flags=kind), np.uint8)
