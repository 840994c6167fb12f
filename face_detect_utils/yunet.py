"""Faces by YuNet through ONNX Runtime: boxes and five points, in a millisecond or two on a CPU.

What it is not: OpenCV's wrapper of it, which runs on the CPU alone, one picture at a time. Takes
the files of the training project and of the OpenCV zoo since 2023: input [N, 3, H, W] in BGR,
0..255; outputs `cls_s`, `obj_s` (0..1), `bbox_s`, `kps_s` for the strides s of 8, 16 and 32.
Method: Wu, Peng, Yu, "YuNet: a tiny millisecond-level face detector", 2023; the decoding is that of
OpenCV's FaceDetectorYN.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from face_detect_utils import files
from face_detect_utils.anchors import AnchorDetector, Floats, Found, cells
from face_detect_utils.base import Image

STRIDES = (8, 16, 32)
KINDS = ("cls", "obj", "bbox", "kps")
MAX_LOG = 8.0
"""Boxes of more than e^8 cells are noise, and would overflow."""


class YunetDetector(AnchorDetector):
    """See the module."""

    name = "yunet"
    min_score = 0.6
    max_overlap = 0.3

    def __init__(self, path: Path, device: str) -> None:
        """See `AnchorDetector`.

        Raises:
            ValueError: the file is no YuNet of 2023 or later.
        """
        super().__init__(path, device)
        wanted = [f"{kind}_{stride}" for kind in KINDS for stride in STRIDES]
        missing = [name for name in wanted if name not in self._outputs]
        if missing:
            raise ValueError(
                f"{path.name} has the outputs {', '.join(self._outputs)}; a YuNet file of 2023 or"
                f" later is needed, with {', '.join(missing)} too"
            )
        self._outputs = tuple(wanted)

    def _blob(self, canvases: list[Image]) -> Floats:
        return np.ascontiguousarray(np.stack(canvases).transpose(0, 3, 1, 2), np.float32)

    def _decode(self, heads: list[Any], index: int, size: tuple[int, int]) -> Found:
        by_name = dict(zip(self._outputs, heads, strict=True))
        parts = []
        for stride in STRIDES:
            grid = cells(size, stride, 1)
            cls, obj, bbox, kps = (
                np.asarray(by_name[f"{kind}_{stride}"], np.float32)[index] for kind in KINDS
            )
            scores = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
            centre = (grid + bbox[:, :2]) * stride
            half = np.exp(np.minimum(bbox[:, 2:], MAX_LOG)) * (stride / 2)
            points = (kps.reshape(-1, 5, 2) + grid[:, None]) * stride
            parts.append((np.hstack([centre - half, centre + half]), scores, points))
        edges, scores, points = (np.concatenate(part) for part in zip(*parts, strict=True))
        return Found(edges, scores, points)


def find(weights_dir: Path) -> Path | None:
    """The file that `load` would take; None where there is none."""
    return files.find(files.YUNET, weights_dir)


def load(device: str, weights_dir: Path) -> YunetDetector:
    """The detector on `device` ("cpu" or "cuda"), from the file in `weights_dir`.

    Raises:
        FileNotFoundError: there is no file.
        ValueError, ProviderError: it cannot be used.
    """
    return YunetDetector(files.need("YuNet", files.YUNET, weights_dir), device)
