"""The lip-sync backends "wav2lip" and "wav2lip-gan": published weights, made fast.

What it is not: the network (hourglass.py, fused.py) or the mel (models/audio/mel.py). The face's
rectangle, 10 px lower at the bottom as published, becomes 96x96; the network is shown it whole and
with its lower half black, and gives the lower half that fits the sound. Unlike the reference, which
pastes the whole rectangle hard, only the half that was hidden is painted, with a soft edge: the
eyes stay as sharp as they are filmed (docs/decisions/0073).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.audio import mel
from models.lipsync import gate
from models.lipsync.base import Box, FaceSample, Image, LipItem, LipPatch, LipSync, Pose, Rect
from models.lipsync.buckets import Buckets, Network
from models.lipsync.fused import Fused
from models.lipsync.hourglass import MEL_BANDS, MEL_COLUMNS, SIDE_PX, inventory
from models.weights import WeightsError, read_weights

PAD_BOTTOM_PX = 10
"""The published default pads are 0, 10, 0, 0 (top, bottom, left, right)."""
SHORTEST_PX = 16
SOFT_TOP, SOFT_SIDE = 0.08, 0.05
"""Soft edges, of the rectangle's height (below its middle) and width (at the sides, and of the
height at the bottom)."""
FACE_SIDE, FACE_TOP, FACE_BOTTOM = 0.39, 0.55, 0.58
"""Edges of the tight rectangle from the centre of a cascade's box, in its widths: for poses without
one (measured for face_detect_utils/geometry.py)."""
SIZES = {"cpu": (16,), "cuda": (1, 2, 4, 8, 16, 32, 64)}
"""Batch sizes by device; the last is the largest, and a CPU takes any up to it."""
_VERSION = 1

_log = structlog.get_logger("models.lipsync.wav2lip")


class Wav2Lip(LipSync):
    """See the module. The feature is the mel [80, 16]. Nothing is learned of a video."""

    speech = mel.NAME
    infers = True
    learn_s = 0.0

    def __init__(self, name: str, network: Network, device: str) -> None:
        """`network`: mel [B, 1, 80, 16] and faces [B, 6, 96, 96] in, [B, 3, 96, 96] out, float32 on
        `device`.
        """
        self.name = name
        self.max_batch = SIZES[device][-1]
        self.network = network
        sound = torch.zeros(1, 1, MEL_BANDS, MEL_COLUMNS)
        face = torch.zeros(1, SIDE_PX, SIDE_PX, 3, dtype=torch.uint8)
        self._buckets = Buckets(self._speak, SIZES[device], device, (sound, face))

    def warm(self) -> None:
        """Run every batch size once, so that the first job waits for nothing."""
        self._buckets.warm()

    def crop_box(self, pose: Pose) -> Box:
        """See `LipSync.crop_box`: the face's rectangle with its pads."""
        return _box(pose)

    def learn(self, samples: Sequence[FaceSample]) -> str:
        """See `LipSync.learn`: there is nothing to learn; None would mean that no face was seen."""
        if not samples:
            raise ValueError("no samples: at least one is needed")
        return self.name

    def dump(self, source: Any) -> dict[str, NDArray[Any]]:
        """See `LipSync.dump`."""
        return {"version": np.array(_VERSION)}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> str:
        """See `LipSync.restore`."""
        return self.name

    def render(self, items: Sequence[LipItem]) -> list[LipPatch]:
        """See `LipSync.render`.

        Raises:
            ValueError: a feature or a crop has another shape than it must have, or the face lies
                outside of its crop.
        """
        boxes = [_box_inside(item) for item in items]
        faces = np.stack([face(item.crop, box) for item, box in zip(items, boxes, strict=True)])
        sounds = np.stack([item.feature for item in items])[:, None]
        made = self._buckets(torch.from_numpy(sounds), torch.from_numpy(faces)).cpu().numpy()
        return [patch(picture, box) for picture, box in zip(made, boxes, strict=True)]

    def _speak(self, sounds: Tensor, faces: Tensor) -> Tensor:
        return painted(self.network(sounds, masked(faces)))


def shown(item: LipItem) -> Image:
    """The face [96, 96, 3] of an item.

    Raises:
        ValueError: see `Wav2Lip.render`.
    """
    return face(item.crop, _box_inside(item))


def face(crop: Image, box: Box) -> Image:
    """The face [96, 96, 3] as the network is shown it."""
    cut = crop[box.y : box.y + box.height, box.x : box.x + box.width]
    resized = cv2.resize(cut, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def masked(faces: Tensor) -> Tensor:
    """The network's input [B, 6, 96, 96] in 0..1 for uint8 faces [B, 96, 96, 3]: without the lower
    half, then whole.
    """
    whole = faces.permute(0, 3, 1, 2).float() / 255
    upper = whole.clone()
    upper[:, :, SIDE_PX // 2 :] = 0
    return torch.cat((upper, whole), dim=1)


def painted(made: Tensor) -> Tensor:
    """Pictures [B, 96, 96, 3] uint8 of the network's result; cut off, not rounded, as published."""
    return (made * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def patch(picture: Image, box: Box) -> LipPatch:
    """What is painted of a picture [96, 96, 3] that stands for the rectangle `box`."""
    size = (box.width, box.height)
    whole = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR), np.uint8)
    top = box.height // 2
    rows = box.height - top
    down = _ramp(rows, max(1.0, SOFT_TOP * box.height))
    up = _ramp(rows, max(1.0, SOFT_SIDE * box.height))[::-1]
    aside = _ramp(box.width, max(1.0, SOFT_SIDE * box.width))
    weight = np.outer(np.minimum(down, up), np.minimum(aside, aside[::-1]))
    return LipPatch(whole[top:], weight.astype(np.float32), box.x, box.y + top)


def _ramp(count: int, length_px: float) -> NDArray[np.float64]:
    """Rises from 0 at the first pixel to 1 after `length_px`."""
    return np.minimum(1.0, np.arange(count) / length_px)


def _tight(pose: Pose) -> Rect:
    """The tight rectangle; by proportion where the pose has none."""
    if pose.face is not None:
        return pose.face
    side = FACE_SIDE * pose.size_px
    top, bottom = FACE_TOP * pose.size_px, FACE_BOTTOM * pose.size_px
    return Rect(pose.x_px - side, pose.y_px - top, pose.x_px + side, pose.y_px + bottom)


def _box(pose: Pose) -> Box:
    tight = _tight(pose)
    width = max(SHORTEST_PX, _whole(tight.right - tight.left))
    height = max(SHORTEST_PX, _whole(tight.bottom - tight.top) + PAD_BOTTOM_PX)
    return Box(_whole(tight.left), _whole(tight.top), width, height)


def _whole(value: float) -> int:
    """The nearest whole number; halves go up, so that a moved rectangle stays the same."""
    return math.floor(value + 0.5)


def _box_inside(item: LipItem) -> Box:
    """The rectangle in the item's crop, which may lack a pixel by rounding.

    Raises:
        ValueError: see `Wav2Lip.render`.
    """
    crop, feature = item.crop, item.feature
    if feature.shape != (MEL_BANDS, MEL_COLUMNS) or feature.dtype != np.float32:
        raise ValueError(
            f"feature of type {feature.dtype} and shape {feature.shape}: float32"
            f" ({MEL_BANDS}, {MEL_COLUMNS}) is needed"
        )
    if crop.ndim != 3 or crop.shape[2] != 3 or crop.dtype != np.uint8:
        raise ValueError(
            f"crop of type {crop.dtype} and shape {crop.shape}: uint8 [H, W, 3] is needed"
        )
    box = _box(item.pose)
    left, top = max(0, box.x), max(0, box.y)
    right, bottom = min(crop.shape[1], box.x + box.width), min(crop.shape[0], box.y + box.height)
    if min(right - left, bottom - top) < SHORTEST_PX - 2:
        raise ValueError(f"face at {box} lies outside of its crop of shape {crop.shape}")
    return Box(left, top, right - left, bottom - top)


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a published file under their names without "module.".

    Raises:
        WeightsError: it cannot be read, lacks a tensor, or has one of another shape or with NaN.
    """
    found = {key.removeprefix("module."): value for key, value in read_weights(path).items()}
    for name, shape in inventory().items():
        if not name.endswith("num_batches_tracked"):
            _check_tensor(f"{path} cannot be used", name, found.get(name), shape)
    return found


def _check_tensor(what: str, name: str, found: Tensor | None, shape: tuple[int, ...]) -> None:
    if found is None:
        raise WeightsError(f"{what}: it has no tensor {name!r}; the generator of Wav2Lip is needed")
    if tuple(found.shape) != shape:
        raise WeightsError(
            f"{what}: {name!r} has the shape {list(found.shape)}, must be {list(shape)}"
        )
    if not bool(torch.isfinite(found).all()):
        raise WeightsError(f"{what}: {name!r} holds NaN or infinity")


def load(device: str, weights_dir: Path) -> Wav2Lip:
    """The backend "wav2lip" from `wav2lip.pth`.

    Raises:
        WeightsError: the file is missing or cannot be used.
    """
    return _load("wav2lip", weights_dir / "wav2lip.pth", device)


def load_gan(device: str, weights_dir: Path) -> Wav2Lip:
    """The backend "wav2lip-gan" from `wav2lip_gan.pth`; see `load`."""
    return _load("wav2lip-gan", weights_dir / "wav2lip_gan.pth", device)


def _load(name: str, path: Path, device: str) -> Wav2Lip:
    state = read_state(path)

    def make(dtype: torch.dtype) -> Network:
        return Fused(state, device, dtype)

    chosen = gate.choose(make, device, _probe())
    _log.info("precision", model=name, dtype=str(chosen.dtype), psnr_db=chosen.psnr_db)
    backend = Wav2Lip(name, chosen.network, device)
    backend.warm()
    return backend


def _probe() -> tuple[Tensor, Tensor]:
    """Two smooth pictures and loud sounds, by which precisions are compared."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    smooth = [
        cv2.resize(each, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC) for each in coarse
    ]
    sound = np.clip(rng.normal(0, 2, (2, 1, MEL_BANDS, MEL_COLUMNS)), -4, 4).astype(np.float32)
    return torch.from_numpy(sound), masked(torch.from_numpy(np.stack(smooth)))
