"""The lips of a shot: cut the face, ask a backend for its patch, blend the patch in.

What it is not: a thread (render.py has them) or a backend. Speaking shots go to the job's backend,
resting ones to the cheap one, and at the border between them both are painted and mixed.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from models.lipsync.base import LipItem, LipPatch, LipSync, Pose
from trans_dh_service.compose import Crop, cut, mixed, paste, placed
from trans_dh_service.scene import Resting, Scene, Shot
from trans_dh_service.speech import SpeechReader

Waiter = Callable[[Future[Any]], Any]
"""Gives a future's result; raises when the work ends before."""


@dataclass(frozen=True, eq=False)
class Ask:
    """A patch under way for a crop, and its share in what is painted."""

    crop: Crop
    future: Future[LipPatch]
    share: float


@dataclass(frozen=True, eq=False)
class Work:
    """A shot whose lips are under way: none, one, or two asks that are mixed. `pose` is the face
    in the picture, `gain` how much of the patch is painted.
    """

    shot: Shot
    gain: float = 0.0
    pose: Pose | None = None
    asks: tuple[Ask, ...] = ()

    def drop(self) -> None:
        """Nobody waits for the lips any more."""
        for ask in self.asks:
            ask.future.cancel()


class Painter:
    """Asks for the lips of shots, in order, and blends them."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._reader = SpeechReader(
            scene.sound, scene.tools.speech, scene.plan.fps, scene.plan.frames
        )

    def ask(self, shot: Shot) -> Work:
        """Put the shot's face to the backends."""
        scene = self._scene
        pose = None if scene.learned is None else scene.book.pose(shot.source)
        if pose is None:
            return Work(shot)
        rest = scene.rest
        rested = 0.0 if rest is None else rest.quiet.share(shot.index)
        asks = [self._speaking(shot, pose, 1 - rested)] if rested < 1 else []
        if rest is not None and rested > 0:
            asks.append(self._resting(rest, shot, pose, rested))
        made = tuple(ask for ask in asks if ask is not None)
        return Work(shot, scene.book.gain(shot.source), pose, made)

    def blend(self, work: Work, result: Waiter) -> None:
        """Paint the work's lips into its picture, once they are there."""
        if not work.asks:
            return
        with self._scene.clock.busy("wait for lips"):
            patches = [placed(ask.crop, result(ask.future)) for ask in work.asks]
        with self._scene.clock.busy("blend"):
            patch = patches[0]
            if len(patches) > 1:
                patch = mixed(patches[0], patches[1], work.asks[1].share)
            paste(work.shot.picture, patch, work.gain, self._scene.colours)

    def _speaking(self, shot: Shot, pose: Pose, share: float) -> Ask | None:
        scene = self._scene
        crop = self._cut(shot, pose, scene.tools.lipsync)
        if crop is None:
            return None
        with scene.clock.busy("speech"):
            feature = self._reader.feature(shot.index)
        item = _item(shot, pose, crop, feature, scene.learned)
        return Ask(crop, scene.tools.submit(item), share)

    def _resting(self, rest: Resting, shot: Shot, pose: Pose, share: float) -> Ask | None:
        crop = self._cut(shot, pose, rest.tools.lipsync)
        if crop is None:
            return None
        item = _item(shot, pose, crop, rest.tools.feature, rest.learned)
        return Ask(crop, rest.tools.submit(item), share)

    def _cut(self, shot: Shot, pose: Pose, lipsync: LipSync) -> Crop | None:
        with self._scene.clock.busy("cut"):
            return cut(shot.picture, lipsync.crop_box(pose), self._scene.colours)


def _item(shot: Shot, pose: Pose, crop: Crop, feature: NDArray[Any], learned: Any) -> LipItem:
    moved = pose.moved(-crop.x, -crop.y)
    return LipItem(crop.image, moved, feature, learned, shot.source, crop.x, crop.y)
