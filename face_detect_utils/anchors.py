"""What single-shot face detectors share: pictures made to fit, cells, overlaps, batches.

What it is not: any one network's heads (yunet.py, scrfd.py). Such a network tells for each cell of
three or more grids (strides 8, 16, 32 pixels, ...) whether a face is there, its box and points.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from face_detect_utils.base import Face, FaceDetector, Image
from runtime.sessions import open_session

Floats = NDArray[np.float32]

SMALL_PX, LARGE_PX = 320, 640
"""Sides of the square that a network of any input size is given; two only, since a GPU measures its
convolutions anew for each."""
MAX_BATCH = 16
MOST_CANDIDATES = 400
"""Cells with the best scores that are looked at; a crowd of a hundred faces needs fewer."""


@dataclass(frozen=True, eq=False)
class Found:
    """Candidates in one picture, pixels of the network's input: edges [n, 4] (left, top, right,
    bottom), scores [n], points [n, 5, 2] or None where the network has none.
    """

    edges: Floats
    scores: Floats
    points: Floats | None

    def of(self, index: NDArray[np.intp]) -> Found:
        """Some of them, in this order."""
        points = None if self.points is None else self.points[index]
        return Found(self.edges[index], self.scores[index], points)


@dataclass(frozen=True)
class InputSpec:
    """A network's input [N, 3, H, W]: its name, H and W (None: any), and whether N is free."""

    name: str
    height_px: int | None
    width_px: int | None
    batched: bool

    @classmethod
    def read(cls, session: Any, path: Path) -> InputSpec:
        """What the session's one input is.

        Raises:
            ValueError: it is no picture.
        """
        inputs = session.get_inputs()
        shape = inputs[0].shape
        if len(inputs) != 1 or len(shape) != 4 or (isinstance(shape[1], int) and shape[1] != 3):
            raise ValueError(
                f"{path.name}: the input {inputs[0].name!r} of shape {shape} is no picture"
                " [N, 3, H, W]"
            )
        height, width = (side if isinstance(side, int) else None for side in shape[2:])
        return cls(inputs[0].name, height, width, not isinstance(shape[0], int))

    def size_for(self, image: Image) -> tuple[int, int]:
        """Width and height of the input for this picture."""
        side = SMALL_PX if max(image.shape[:2]) <= SMALL_PX else LARGE_PX
        return self.width_px or side, self.height_px or side


class AnchorDetector(FaceDetector):
    """A network behind a session that its clones share. Subclasses say what goes in and what the
    outputs mean.
    """

    min_score: float
    max_overlap: float

    def __init__(self, path: Path, device: str) -> None:
        """Open the file on `device` ("cpu" or "cuda").

        Raises:
            ValueError: the network has other inputs or outputs than this detector knows.
            ProviderError, FileNotFoundError: see `runtime.sessions.open_session`.
        """
        self._path = path
        self._session: Any = open_session(path, device)
        self._spec = InputSpec.read(self._session, path)
        self._outputs = tuple(out.name for out in self._session.get_outputs())

    def clone(self) -> Self:
        """Another one on the same session, which any thread may run."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def detect(self, images: Sequence[Image]) -> list[list[Face]]:
        """See `FaceDetector.detect`. Pictures that get the same input size go in together where
        the network takes more than one.
        """
        groups: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
        for index, image in enumerate(images):
            check_picture(image)
            groups[self._spec.size_for(image)].append(index)
        found: dict[int, list[Face]] = {}
        step = MAX_BATCH if self._spec.batched else 1
        for size, members in groups.items():
            for start in range(0, len(members), step):
                part = members[start : start + step]
                answers = self._run([images[index] for index in part], size)
                found.update(zip(part, answers, strict=True))
        return [found[index] for index in range(len(images))]

    def _run(self, images: list[Image], size: tuple[int, int]) -> list[list[Face]]:
        fitted = [letterbox(image, size) for image in images]
        blob = self._blob([canvas for canvas, _ in fitted])
        heads = self._session.run(list(self._outputs), {self._spec.name: blob})
        answers = []
        for index, (_, scale) in enumerate(fitted):
            found = strongest(self._decode(heads, index, size), self.min_score)
            answers.append(faces_of(found.of(apart(found, self.max_overlap)), scale))
        return answers

    @abstractmethod
    def _blob(self, canvases: list[Image]) -> Floats:
        """The input [N, 3, H, W] for pictures that fit it."""

    @abstractmethod
    def _decode(self, heads: list[Any], index: int, size: tuple[int, int]) -> Found:
        """All cells of picture `index` of the batch; `size` is the input's width and height."""


def check_picture(image: Image) -> None:
    """Refuse what is no colour picture.

    Raises:
        ValueError: it is not uint8 [H, W, 3] or is empty.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(
            f"picture of type {image.dtype} and shape {image.shape}: uint8 [H, W, 3] is needed"
        )


def letterbox(image: Image, size: tuple[int, int]) -> tuple[Image, float]:
    """The picture scaled to fit into `size` (width, height), black to the right and below; and the
    factor it was scaled by.
    """
    width, height = size
    scale = min(width / image.shape[1], height / image.shape[0])
    inner = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    kind = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: inner[1], : inner[0]] = cv2.resize(image, inner, interpolation=kind)
    return canvas, scale


@lru_cache(maxsize=32)
def cells(size: tuple[int, int], stride: int, anchors: int) -> Floats:
    """Column and row of every cell of a grid, row by row, each `anchors` times: [n, 2]. Grids of
    sizes that the stride does not divide have a cell for the rest.
    """
    columns, rows = (-(-side // stride) for side in size)
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    made = np.repeat(grid, anchors, axis=0).astype(np.float32)
    made.flags.writeable = False
    return made


def strongest(found: Found, min_score: float) -> Found:
    """Those that score `min_score` or more, best first."""
    order = np.argsort(-found.scores, kind="stable")[:MOST_CANDIDATES]
    return found.of(order[found.scores[order] >= min_score])


def apart(found: Found, max_overlap: float) -> NDArray[np.intp]:
    """Non-maximum suppression: which of `found` (best first) are kept so that no two overlap (the
    intersection over the union) by more than `max_overlap`.
    """
    left, top, right, bottom = found.edges.T
    area = np.maximum(0, right - left) * np.maximum(0, bottom - top)
    rest = np.arange(len(found.scores))
    kept: list[int] = []
    while rest.size:
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        wide = np.minimum(right[best], right[rest]) - np.maximum(left[best], left[rest])
        high = np.minimum(bottom[best], bottom[rest]) - np.maximum(top[best], top[rest])
        both = np.maximum(0, wide) * np.maximum(0, high)
        union = np.maximum(area[best] + area[rest] - both, 1e-9)
        rest = rest[both / union <= max_overlap]
    return np.array(kept, np.intp)


def faces_of(found: Found, scale: float) -> list[Face]:
    """Faces in pixels of the picture that was scaled by `scale`, largest first."""
    made = []
    for index, (left, top, right, bottom) in enumerate(found.edges.tolist()):
        made.append(
            Face(
                left / scale,
                top / scale,
                (right - left) / scale,
                (bottom - top) / scale,
                float(min(1.0, found.scores[index])),
                None if found.points is None else found.points[index] / np.float32(scale),
                tight=True,
            )
        )
    return sorted(made, key=lambda face: -face.area_px)
