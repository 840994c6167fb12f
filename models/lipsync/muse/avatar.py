"""MuseTalk's avatar directories: frames, rectangles, latents and masks that it made ahead.

What it is not: a source of code. The pickles are read by an unpickler that knows lists, tuples and
numbers (NumPy's, too, which MuseTalk writes), and nothing else. MuseTalk keeps every list forward
and then backward; here only the way forward is read.
"""

from __future__ import annotations

import io
import json
import pickle
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.lipsync.base import Image
from models.lipsync.muse.box import Edges
from models.lipsync.muse.store import LATENT_SHAPE
from models.weights import WeightsError, open_weights

INFO = "avator_info.json"
_MOST_PICKLE_BYTES = 64 * 1024**2
_NUMBER = re.compile(r"[iuf][1248]")


class AvatarError(ValueError):
    """An avatar directory cannot be used; one line that names the file and what is wrong."""


@dataclass(frozen=True, eq=False)
class AvatarFace:
    """A frame's face: its rectangle, latents [8, 32, 32] float16, and the mask's rectangle and
    file; None where the directory has no masks.
    """

    box: Edges
    latents: NDArray[np.float16]
    around: Edges | None
    mask: Path | None


@dataclass(frozen=True, eq=False)
class Avatar:
    """A directory's way forward. `faces` has None for frames in which MuseTalk found none."""

    frames: tuple[Path, ...]
    faces: tuple[AvatarFace | None, ...]
    version: str


def read_avatar(folder: Path) -> Avatar:
    """Read a directory.

    Raises:
        AvatarError: something is missing, damaged, holds code, or does not fit the rest.
    """
    frames = _pictures(folder / "full_imgs")
    if not frames:
        raise AvatarError(f"{folder / 'full_imgs'} holds no .png")
    boxes = [_edges(numbers, "coords.pkl") for numbers in _rows(folder / "coords.pkl")]
    if len(boxes) != len(frames):
        raise AvatarError(
            f"coords.pkl in {folder} has {len(boxes)} rectangles for {len(frames)} pictures"
        )
    count = forward(boxes)
    seen = [index for index in range(count) if boxes[index].width > 0]
    latents = _latents(folder / "latents.pt", len(seen))
    masks = _masks(folder, len(frames))
    faces: list[AvatarFace | None] = [None] * count
    for index, each in zip(seen, latents, strict=True):
        around, mask = (None, None) if masks is None else masks[index]
        faces[index] = AvatarFace(boxes[index], each, around, mask)
    return Avatar(tuple(frames[:count]), tuple(faces), _version(folder / INFO))


def forward(boxes: Sequence[Edges]) -> int:
    """How long the way forward of a list is: half of it where the rest is its mirror image."""
    half = len(boxes) // 2
    mirrored = len(boxes) % 2 == 0 and list(boxes[half:]) == list(reversed(boxes[:half]))
    return half if mirrored and half else len(boxes)


def read_mask(file: Path, around: Edges) -> Image:
    """A mask's weights [h, w], 0..255.

    Raises:
        AvatarError: it cannot be read or has another size than its rectangle.
    """
    found = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
    if found is None:
        raise AvatarError(f"{file} is missing or no picture")
    if found.shape != (around.height, around.width):
        raise AvatarError(
            f"{file} has {found.shape[1]}x{found.shape[0]} pixels, its rectangle"
            f" {around.width}x{around.height}"
        )
    return np.asarray(found, np.uint8)


def plain(data: bytes) -> Any:
    """What a pickle holds, if it is lists, tuples and numbers.

    Raises:
        pickle.UnpicklingError: it holds anything else, or is damaged.
    """
    found = _Plain(io.BytesIO(data)).load()
    _check_plain(found)
    return found


class _Type:
    """Stands in for numpy.dtype: the letter and the order of the bytes of a number."""

    def __init__(self, code: str, *_: object) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]

    def number(self, data: bytes) -> int | float:
        """The number that the bytes are."""
        if not _NUMBER.fullmatch(str(self.code)) or self.order not in ("<", ">", "=", "|"):
            raise pickle.UnpicklingError(f"it holds a number of type {str(self.code)[:20]!r}")
        value: int | float = np.frombuffer(data, self.order + self.code, 1)[0].item()
        return value


def _scalar(kind: Any, data: Any) -> int | float:
    if not isinstance(kind, _Type) or not isinstance(data, bytes):
        raise pickle.UnpicklingError("it holds something else than numbers")
    return kind.number(data)


class _Plain(pickle.Unpickler):
    """Knows NumPy's numbers and no other name."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "scalar":
            return _scalar
        if (module, name) == ("numpy", "dtype"):
            return _Type
        raise pickle.UnpicklingError(f"it holds code ({module}.{name}), which is not run")


def _check_plain(value: Any) -> None:
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, list | tuple):
            waiting.extend(each)
        elif not isinstance(each, int | float):
            raise pickle.UnpicklingError(f"it holds a {type(each).__name__}")


def _rows(file: Path) -> list[Any]:
    try:
        if file.stat().st_size > _MOST_PICKLE_BYTES:
            raise AvatarError(f"{file} is larger than {_MOST_PICKLE_BYTES} bytes")
        found = plain(file.read_bytes())
    except FileNotFoundError:
        raise AvatarError(f"{file.name} is missing in {file.parent}") from None
    except pickle.UnpicklingError as error:
        raise AvatarError(f"{file} cannot be used: {error}") from error
    except (OSError, EOFError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise AvatarError(f"{file} is damaged or cut off ({error})") from error
    if not isinstance(found, list) or not found:
        raise AvatarError(f"{file} cannot be used: it holds no list of rectangles")
    return found


def _edges(numbers: Any, name: str) -> Edges:
    if not isinstance(numbers, list | tuple) or len(numbers) != 4:
        raise AvatarError(f"{name} holds {str(numbers)[:60]!r} where four numbers should be")
    try:
        return Edges(*(int(number) for number in numbers))
    except (TypeError, ValueError, OverflowError) as error:
        raise AvatarError(f"{name} holds {str(numbers)[:60]!r}: {error}") from error


def _latents(file: Path, wanted: int) -> list[NDArray[np.float16]]:
    """The way forward's latents; frames without a face have none in MuseTalk's list."""
    try:
        found = open_weights(file)
    except WeightsError as error:
        raise AvatarError(str(error)) from error
    if not isinstance(found, list) or len(found) not in (wanted, 2 * wanted):
        size = len(found) if isinstance(found, list) else 0
        raise AvatarError(f"{file} holds {size} latents for {wanted} faces (or twice as many)")
    return [_latent(each, file) for each in found[:wanted]]


def _latent(tensor: Any, file: Path) -> NDArray[np.float16]:
    if not isinstance(tensor, Tensor) or tuple(tensor.shape[-3:]) != LATENT_SHAPE:
        shape = list(tensor.shape) if isinstance(tensor, Tensor) else type(tensor).__name__
        raise AvatarError(f"{file} holds {shape} where latents [1, 8, 32, 32] should be")
    made: NDArray[np.float16] = tensor.reshape(-1, *LATENT_SHAPE)[0].half().numpy()
    return made


def _masks(folder: Path, wanted: int) -> list[tuple[Edges, Path]] | None:
    if not (folder / "mask_coords.pkl").is_file():
        return None
    places = [_edges(numbers, "mask_coords.pkl") for numbers in _rows(folder / "mask_coords.pkl")]
    files = _pictures(folder / "mask")
    if len(files) != wanted or len(places) != wanted:
        raise AvatarError(
            f"{folder} has {len(files)} masks and {len(places)} of their rectangles for {wanted}"
            " pictures"
        )
    return list(zip(places, files, strict=True))


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.png") if path.is_file())


def _version(file: Path) -> str:
    """ "v15" or "v1", as the directory says it; old ones say nothing."""
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return "v1"
    found = info.get("version") if isinstance(info, dict) else None
    return "v15" if found == "v15" else "v1"
