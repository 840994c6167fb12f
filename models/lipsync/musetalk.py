"""The lip-sync backends "musetalk" (v1) and "musetalk-v1.5": the lower face painted by networks.

What it is not: the networks (muse/), the sound (models/audio/whisper.py) or faces. What a frame's
face gives the networks is made once per source frame and kept on disk. The licence of the weights
is their makers' (docs/models/lipsync.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync.base import Box, FaceSample, Image, LipItem, LipPatch, LipSync, Pose
from models.lipsync.muse import blend, files
from models.lipsync.muse.blend import BlendRule
from models.lipsync.muse.box import BoxRule, Edges, pose_box
from models.lipsync.muse.chain import FACE_PX, SOUND_ROWS, Chain, open_chain
from models.lipsync.muse.imported import AvatarFrame, Imported
from models.lipsync.muse.store import LatentStore

_VERSION = 1


@dataclass(frozen=True)
class Version:
    """What differs between MuseTalk's versions beside their weights."""

    name: str
    box: BoxRule
    blend: BlendRule


V1 = Version("musetalk", BoxRule(), BlendRule(jaw=False))
V15 = Version("musetalk-v1.5", BoxRule(chin_px=10), BlendRule(jaw=True))


@dataclass(frozen=True, eq=False)
class Source:
    """A source video: where its latents are kept, and an imported avatar's own, if there is one."""

    store: LatentStore | None = None
    avatar: Imported | None = None


@dataclass(frozen=True, eq=False)
class Face:
    """One item's face: its rectangle in the crop and in the frame, and what an avatar brings."""

    box: Edges
    place: Edges
    given: AvatarFrame | None


class MuseTalk(LipSync):
    """See the module. One thread at a time."""

    speech = "whisper"
    max_batch = 32
    wants_landmarks = True
    infers = True
    learn_s = 0.0

    def __init__(self, version: Version, chain: Chain) -> None:
        self.name = version.name
        self._version = version
        self._chain = chain

    def crop_box(self, pose: Pose) -> Box:
        """See `LipSync.crop_box`: the square around the face that the mask covers."""
        around = blend.square(pose_box(pose, self._version.box))
        return Box(around.left, around.top, around.width, around.height)

    def learn(self, samples: Sequence[FaceSample]) -> Source:
        """See `LipSync.learn`. Nothing is learned ahead: each frame's latents are made when it is
        rendered first.
        """
        if not samples:
            raise ValueError("0 samples: at least one is needed")
        return Source()

    def dump(self, source: Any) -> dict[str, NDArray[Any]]:
        """See `LipSync.dump`."""
        return {"version": np.array(_VERSION)}

    def restore(self, arrays: dict[str, NDArray[Any]]) -> Source:
        """See `LipSync.restore`."""
        if int(arrays["version"]) != _VERSION:
            raise ValueError(f"version {arrays['version']}: {_VERSION} is needed")
        return Source()

    def attach(self, source: Any, folder: Path) -> Source:
        """See `LipSync.attach`: latents are kept in `folder`; an imported avatar is found there."""
        known: Source = source
        store = LatentStore(folder, self._chain.fingerprint)
        return replace(known, store=store, avatar=Imported.find(folder, self.name))

    def render(self, items: Sequence[LipItem]) -> list[LipPatch]:
        """See `LipSync.render`.

        Raises:
            ValueError: a feature or a crop has another shape than it must have.
        """
        sound = np.stack([self._sound(item) for item in items])
        faces = [self._face(item) for item in items]
        spoken = self._chain.speak(self._latents(items, faces), sound)
        # The device works while masks are drawn here.
        masks = [self._mask(item, face) for item, face in zip(items, faces, strict=True)]
        pictures = spoken.cpu().numpy()
        return [
            blend.patch(item.crop, picture, face.box, *mask)
            for item, face, mask, picture in zip(items, faces, masks, pictures, strict=True)
        ]

    def _sound(self, item: LipItem) -> NDArray[np.float32]:
        wanted = (SOUND_ROWS, self._chain.sound_width)
        if item.feature.shape != wanted:
            raise ValueError(f"feature of shape {item.feature.shape}: {wanted} is needed")
        return item.feature

    def _face(self, item: LipItem) -> Face:
        if item.crop.ndim != 3 or item.crop.shape[2] != 3 or item.crop.dtype != np.uint8:
            raise ValueError(
                f"crop of type {item.crop.dtype} and shape {item.crop.shape}: uint8 [H, W, 3] is"
                " needed"
            )
        avatar = item.source.avatar
        given = None if avatar is None else avatar.frame(item.frame)
        if given is not None:
            box = given.box.moved(-item.left_px, -item.top_px)
            if box == box.within(item.crop.shape[1], item.crop.shape[0]):
                return Face(box, given.box, given)
        box = pose_box(item.pose.moved(item.left_px, item.top_px), self._version.box)
        return Face(box.moved(-item.left_px, -item.top_px), box, None)

    def _latents(self, items: Sequence[LipItem], faces: Sequence[Face]) -> NDArray[np.float16]:
        """Latents of every item: an avatar's, those on disk, and the rest made and kept."""
        found = [_kept(item, face) for item, face in zip(items, faces, strict=True)]
        lacking = [index for index, latents in enumerate(found) if latents is None]
        if lacking:
            made = self._chain.encode([_picture(items[i], faces[i].box) for i in lacking])
            for index, latents in zip(lacking, made, strict=True):
                found[index] = latents
                store = items[index].source.store
                if store is not None:
                    store.put([items[index].frame], [faces[index].place], latents[None])
        return np.stack([latents for latents in found if latents is not None])

    def _mask(self, item: LipItem, face: Face) -> tuple[Image, Edges]:
        """A weight 0..255, and the rectangle of the crop that it covers."""
        if face.given is not None and face.given.mask is not None:
            around = face.given.around.moved(-item.left_px, -item.top_px)
            return face.given.mask, around
        weight = blend.own_mask(face.box, item.pose.landmarks, self._version.blend)
        return weight, blend.square(face.box)


def _kept(item: LipItem, face: Face) -> NDArray[np.float16] | None:
    if face.given is not None:
        return face.given.latents
    store = item.source.store
    return None if store is None else store.get(item.frame, face.place)


def _picture(item: LipItem, box: Edges) -> Image:
    """The face [256, 256, 3] as the networks see it."""
    height, width = item.crop.shape[:2]
    part = box.within(width, height)
    face = item.crop[part.top : part.bottom, part.left : part.right]
    size = (FACE_PX, FACE_PX)
    return np.asarray(cv2.resize(face, size, interpolation=cv2.INTER_LANCZOS4), np.uint8)


def load_v1(device: str, weights_dir: Path) -> MuseTalk:
    """MuseTalk v1 from `weights_dir`/musetalk and /sd-vae, on "cpu" or "cuda".

    Raises:
        WeightsError: a file is missing or cannot be used.
    """
    return MuseTalk(V1, open_chain(files.published(weights_dir, files.V1), device))


def load_v15(device: str, weights_dir: Path) -> MuseTalk:
    """MuseTalk v1.5 from `weights_dir`/musetalkV15 and /sd-vae, on "cpu" or "cuda".

    Raises:
        WeightsError: a file is missing or cannot be used.
    """
    return MuseTalk(V15, open_chain(files.published(weights_dir, files.V15), device))
