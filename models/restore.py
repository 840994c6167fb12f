"""The restorer: a network that sharpens an aligned face, as an engine of the lane.

What it is not: finding, aligning or blending faces (trans_dh_service/retouch.py). Any ONNX file of
the form of GFPGAN's exports will do: one input [n, 3, s, s], RGB in -1..1, one output like it
(further outputs are ignored). Such networks are trained on faces laid out as in FFHQ: at 512
pixels the eyes' middle lies at about (256, 240) and the mouth's at (257, 371).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.lane import Priority
from models.lipsync.base import Image
from runtime.sessions import open_session

PATTERNS = ("gfpgan*.onnx", "GFPGAN*.onnx", "*restor*.onnx")
MISSING = "no face restorer is there: put a GFPGAN-style ONNX file (gfpgan*.onnx) into WEIGHTS_DIR"
USUAL_PX = 512
MAX_BATCH = 8
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class RestorerError(ValueError):
    """A file is no restorer; the message says what it has and what is needed."""


class Network(Protocol):
    """What is used of an `onnxruntime.InferenceSession`."""

    def get_inputs(self) -> Sequence[Any]:
        """The inputs, with name, shape and type."""

    def get_outputs(self) -> Sequence[Any]:
        """The outputs, with name."""

    def run(self, names: Sequence[str], feeds: dict[str, Any]) -> Sequence[Any]:
        """The outputs of these names."""


class Restorer:
    """A restorer. `label` names its weights; faces are [`size_px`, `size_px`, 3] BGR."""

    name = "restorer"
    priority = Priority.BATCH

    def __init__(self, session: Network, label: str) -> None:
        """Look at the network.

        Raises:
            RestorerError: its input is not that of a restorer.
        """
        self.label = label
        self._session = session
        inputs = session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(node.name for node in inputs)
            raise RestorerError(f"{label}: it has {len(inputs)} inputs ({names}); one is needed")
        self._input = inputs[0]
        self._output: str = session.get_outputs()[0].name
        self.size_px, self.max_batch = _size(label, list(self._input.shape))
        if self._input.type not in _TYPES:
            raise RestorerError(f"{label}: its input is {self._input.type}; {_known()} is needed")

    def run(self, items: Sequence[Image]) -> list[Image]:
        """One sharpened face per face; called on the lane's thread.

        Raises:
            ValueError: a face has another shape than it must have.
            RestorerError: the network gives another shape than it takes.
        """
        step = self.max_batch
        return [
            face
            for first in range(0, len(items), step)
            for face in self._run(items[first : first + step])
        ]

    def _run(self, faces: Sequence[Image]) -> list[Image]:
        wanted = (self.size_px, self.size_px, 3)
        for face in faces:
            if face.shape != wanted or face.dtype != np.uint8:
                raise ValueError(f"face {face.dtype} {face.shape}: uint8 {wanted} is needed")
        batch = _numbers(faces).astype(_TYPES[self._input.type])
        made = np.asarray(self._session.run([self._output], {self._input.name: batch})[0])
        if made.shape != batch.shape:
            raise RestorerError(
                f"{self.label}: it gave {made.shape} for {batch.shape}; equal shapes are needed"
            )
        return _images(made)


def _size(label: str, shape: list[Any]) -> tuple[int, int]:
    """Side of the faces and the most per call, from the shape of the input; a dimension that is no
    number is free.
    """
    given = [edge if isinstance(edge, int) and edge > 0 else None for edge in shape]
    if len(given) != 4 or given[1] not in (3, None) or given[2] != given[3]:
        raise RestorerError(f"{label}: its input has the shape {shape}; [n, 3, s, s] is needed")
    return given[2] or USUAL_PX, given[0] or MAX_BATCH


def _known() -> str:
    return " or ".join(_TYPES)


def _numbers(faces: Sequence[Image]) -> NDArray[np.float32]:
    """BGR pictures as RGB in -1..1, [n, 3, s, s]."""
    stacked = np.stack(faces)[..., ::-1].transpose(0, 3, 1, 2)
    return np.ascontiguousarray(stacked, np.float32) / np.float32(127.5) - 1


def _images(made: NDArray[Any]) -> list[Image]:
    """The inverse of `_numbers`; what is beyond -1..1 is cut off, what is no number is black."""
    scaled = np.nan_to_num((made.astype(np.float32) + 1) * np.float32(127.5), nan=0.0)
    pictures = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return list(np.ascontiguousarray(pictures.transpose(0, 2, 3, 1)[..., ::-1]))


def find(weights_dir: Path) -> Path | None:
    """The restorer's file: the first by name that fits PATTERNS."""
    for pattern in PATTERNS:
        for path in sorted(weights_dir.glob(pattern)):
            if path.is_file():
                return path
    return None


def load(device: str, weights_dir: Path) -> Restorer:
    """The restorer of `weights_dir` on `device` ("cpu" or "cuda").

    Raises:
        FileNotFoundError: there is none.
        RestorerError: the file is no restorer.
        ProviderError: it does not run on the device.
    """
    path = find(weights_dir)
    if path is None:
        raise FileNotFoundError(MISSING)
    # On a CPU it is by far the slowest part: all cores but the encoder's.
    threads = max(1, (os.cpu_count() or 1) - 1)
    return Restorer(open_session(path, device, threads), path.stem)
