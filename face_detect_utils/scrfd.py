"""Faces by any SCRFD network through ONNX Runtime: boxes, and five points where the file has them.

What it is not: tied to one file. The outputs are told apart by their last axis (1: scores, 4:
boxes, 10: points) and put in order by their number of cells, since exports name them differently;
[1, n, c] and [n, c] are both known. Input [N, 3, H, W] in RGB, (x - 127.5) / 128; boxes are
distances from a cell's corner in strides. Method: Guo, Deng, Lattas, Zafeiriou, "Sample and
computation redistribution for efficient face detection", 2021.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from face_detect_utils import files
from face_detect_utils.anchors import AnchorDetector, Floats, Found, cells
from face_detect_utils.base import Image

LEVELS = {6: 3, 9: 3, 10: 5, 15: 5}
"""Number of grids, from stride 8 on, by the number of outputs; 9 and 15 are those with points."""
MEAN, DIVISOR = 127.5, 128.0


class ScrfdDetector(AnchorDetector):
    """See the module."""

    name = "scrfd"
    min_score = 0.5
    max_overlap = 0.4

    def __init__(self, path: Path, device: str) -> None:
        """See `AnchorDetector`.

        Raises:
            ValueError: the file is no SCRFD.
        """
        super().__init__(path, device)
        count = len(self._outputs)
        if count not in LEVELS:
            raise ValueError(
                f"{path.name} has {count} outputs; an SCRFD file has 6 or 10, with points 9 or 15"
            )
        self._levels = LEVELS[count]
        flat = any(len(out.shape) == 2 for out in self._session.get_outputs())
        if flat:  # an export of [n, c] has room for one picture, whatever its input says
            spec = self._spec
            self._spec = type(spec)(spec.name, spec.height_px, spec.width_px, batched=False)

    def _blob(self, canvases: list[Image]) -> Floats:
        rgb = np.stack(canvases)[..., ::-1].transpose(0, 3, 1, 2)
        return (np.ascontiguousarray(rgb, np.float32) - np.float32(MEAN)) / np.float32(DIVISOR)

    def _decode(self, heads: list[Any], index: int, size: tuple[int, int]) -> Found:
        scores, boxes, points = (self._heads(heads, index, last) for last in (1, 4, 10))
        edges, spots = [], []
        for level in range(self._levels):
            grid, stride = self._grid(size, level, len(boxes[level])), 8 << level
            before, after = boxes[level][:, :2], boxes[level][:, 2:]
            edges.append(np.hstack([grid - before, grid + after]) * stride)
            if points:
                spots.append((points[level].reshape(-1, 5, 2) + grid[:, None]) * stride)
        flat = np.concatenate(scores)[:, 0]
        return Found(np.concatenate(edges), flat, np.concatenate(spots) if spots else None)

    def _heads(self, heads: list[Any], index: int, last: int) -> list[Floats]:
        """The outputs of one kind for one picture, finest grid first."""
        kind = [np.asarray(head, np.float32) for head in heads if head.shape[-1] == last]
        single = [head[index] if head.ndim == 3 else head for head in kind]
        if len(single) not in ((0, self._levels) if last == 10 else (self._levels,)):
            shapes = ", ".join(str(head.shape) for head in heads)
            raise ValueError(
                f"{self._path.name}: outputs of shapes {shapes}; SCRFD has {self._levels} each of"
                " [n, 1], [n, 4] and, with points, [n, 10]"
            )
        return sorted(single, key=len, reverse=True)

    def _grid(self, size: tuple[int, int], level: int, rows: int) -> Floats:
        plain = len(cells(size, 8 << level, 1))
        if rows % plain:
            raise ValueError(
                f"{self._path.name}: {rows} boxes at stride {8 << level}, which an input of"
                f" {size[0]}x{size[1]} with {plain} cells does not divide"
            )
        return cells(size, 8 << level, rows // plain)


def find(weights_dir: Path) -> Path | None:
    """The file that `load` would take; None where there is none."""
    return files.find(files.SCRFD, weights_dir)


def load(device: str, weights_dir: Path) -> ScrfdDetector:
    """The detector on `device` ("cpu" or "cuda"), from the file in `weights_dir`.

    Raises:
        FileNotFoundError: there is no file.
        ValueError, ProviderError: it cannot be used.
    """
    return ScrfdDetector(files.need("SCRFD", files.SCRFD, weights_dir), device)
