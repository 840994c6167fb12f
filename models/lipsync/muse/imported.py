"""An avatar that was imported: rectangles, latents and masks of a video's frames, in its cache.

What it is not: MuseTalk's own directory (avatar.py). scripts/import_avatar.py writes it. What is
damaged is left out, and the frame is then made like any other.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from models.lipsync.base import Image
from models.lipsync.muse.avatar import Avatar, AvatarError, read_mask
from models.lipsync.muse.box import Edges
from models.lipsync.muse.store import LATENT_SHAPE

_INDEX, _LATENTS = "avatar.npz", "latents.npy"
_log = structlog.get_logger("models.lipsync.muse")


@dataclass(frozen=True, eq=False)
class AvatarFrame:
    """What an avatar brings for one frame; `around` is the mask's rectangle, as `box` in the
    frame's pixels.
    """

    box: Edges
    latents: NDArray[np.float16]
    around: Edges
    mask: Image | None


class Imported:
    """An imported avatar. Any threads may read it."""

    def __init__(self, folder: Path) -> None:
        """Open one.

        Raises:
            ValueError: it is damaged.
            OSError: it cannot be read.
        """
        self._folder = folder
        with (folder / _INDEX).open("rb") as file, np.load(file, allow_pickle=False) as data:
            self._boxes, self._arounds = data["boxes"], data["arounds"]
        self._latents = np.load(folder / _LATENTS, mmap_mode="r", allow_pickle=False)
        frames = len(self._boxes)
        wanted = [(frames, 4), (frames, 4), (frames, *LATENT_SHAPE)]
        found = [array.shape for array in (self._boxes, self._arounds, self._latents)]
        if found != wanted:
            raise ValueError(f"arrays of shapes {found}, {wanted} are needed")

    @classmethod
    def find(cls, folder: Path, backend: str) -> Imported | None:
        """The avatar for a backend in one of a video's folders or the two above it, or None."""
        places = [above / avatar_folder(backend) for above in (folder, *folder.parents[:2])]
        place = next((each for each in places if (each / _INDEX).is_file()), None)
        if place is None:
            return None
        try:
            return cls(place)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            _log.warning("imported avatar left out", path=str(place), error=str(error))
            return None

    def frame(self, index: int) -> AvatarFrame | None:
        """What is there for a frame, or None."""
        if not 0 <= index < len(self._boxes):
            return None
        box, around = (Edges(*map(int, rows[index])) for rows in (self._boxes, self._arounds))
        if box.width <= 0 or box.height <= 0:
            return None
        latents = np.asarray(self._latents[index], np.float16)
        return AvatarFrame(box, latents, around, self._mask(index, around))

    def _mask(self, index: int, around: Edges) -> Image | None:
        if around.width <= 0:
            return None
        try:
            return read_mask(self._folder / mask_name(index), around)
        except AvatarError as error:
            _log.warning("mask left out", error=str(error))
            return None


def avatar_folder(backend: str) -> str:
    """Where an avatar for a backend lies in a video's folder."""
    return f"avatar-{backend}"


def mask_name(index: int) -> str:
    """The file of a frame's mask."""
    return f"mask_{index:06d}.png"


def keep(avatar: Avatar, folder: Path, backend: str) -> Path:
    """Write an avatar for a backend into a video's folder; the index last, so that a half written
    one is not seen.

    Raises:
        AvatarError: a mask does not fit its rectangle.
        OSError: it cannot be written.
    """
    place = folder / avatar_folder(backend)
    place.mkdir(parents=True, exist_ok=True)
    (place / _INDEX).unlink(missing_ok=True)
    count = len(avatar.faces)
    boxes, arounds = np.zeros((2, count, 4), np.int32)
    latents = np.zeros((count, *LATENT_SHAPE), np.float16)
    for index, face in enumerate(avatar.faces):
        if face is None:
            continue
        boxes[index], latents[index] = face.box.numbers, face.latents
        if face.around is not None and face.mask is not None:
            arounds[index] = face.around.numbers
            read_mask(face.mask, face.around)
            (place / mask_name(index)).write_bytes(face.mask.read_bytes())
    np.save(place / _LATENTS, latents)
    np.savez(place / _INDEX, boxes=boxes, arounds=arounds)
    return place
