"""An avatar directory as MuseTalk writes it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.lipsync.muse import blend
from models.lipsync.muse.blend import BlendRule
from models.lipsync.muse.box import Edges

BOXES = [(60, 40, 140, 140), (62, 41, 142, 141), (0.0, 0.0, 0.0, 0.0), (61, 40, 141, 142)]
SIZE = (180, 201)
SEED = 4


def pictures() -> list[NDArray[np.uint8]]:
    """Smooth frames [180, 201, 3] of an odd width."""
    rng = np.random.default_rng(SEED)
    coarse = [rng.integers(40, 200, (6, 6, 3), dtype=np.uint8) for _ in BOXES]
    return [np.asarray(cv2.resize(each, SIZE[::-1]), np.uint8) for each in coarse]


def latents() -> list[torch.Tensor]:
    """One for each frame with a face."""
    made = torch.Generator().manual_seed(SEED)
    return [torch.randn(1, 8, 32, 32, generator=made) for box in BOXES if box[2]]


def write(folder: Path, version: str | None = "v15", masks: bool = True) -> Path:
    """The directory; every list forward and backward; numbers as NumPy's, as MuseTalk has them."""
    (folder / "full_imgs").mkdir(parents=True)
    frames = pictures()
    for index, frame in enumerate(frames + frames[::-1]):
        cv2.imwrite(str(folder / "full_imgs" / f"{index:08d}.png"), frame)
    boxes: list[Any] = [
        (np.int32(x1), y1, np.int64(x2), np.float64(y2)) for x1, y1, x2, y2 in BOXES
    ]
    _dump(folder / "coords.pkl", boxes + boxes[::-1])
    found = latents()
    torch.save(found + found[::-1], folder / "latents.pt")
    if masks:
        _write_masks(folder)
    info = {"avatar_id": "a", "video_path": "b.mp4", "bbox_shift": 0}
    info |= {} if version is None else {"version": version}
    (folder / "avator_info.json").write_text(json.dumps(info))
    return folder


def _write_masks(folder: Path) -> None:
    (folder / "mask").mkdir()
    places = []
    for index, numbers in enumerate(BOXES + BOXES[::-1]):
        box = Edges(*map(int, numbers))
        if not box.width:
            box = Edges(0, 0, 20, 20)
        mask = blend.own_mask(box, None, BlendRule())
        cv2.imwrite(str(folder / "mask" / f"{index:08d}.png"), cv2.merge([mask] * 3))
        places.append(list(blend.square(box).numbers))
    _dump(folder / "mask_coords.pkl", places)


def _dump(file: Path, value: Any) -> None:
    file.write_bytes(pickle.dumps(value))
