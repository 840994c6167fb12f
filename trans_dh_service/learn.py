"""What a lip-sync backend must know of a source video: shown to it once, then kept in the cache.

What it is not: the knowledge itself, which only the backend understands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from models.lipsync.base import FaceSample, LipSync
from trans_dh_service.cache import load_arrays, save_arrays
from trans_dh_service.compose import Colours, cut
from trans_dh_service.faces import FaceBook
from trans_dh_service.source import Source
from trans_dh_service.task import StoppedError

MOST_SAMPLES = 40
SAMPLE_BYTES = 64 * 1024**2
"""The samples' pictures together stay below this."""
_CHECK_EVERY = 16
_log = structlog.get_logger(__name__)


def learned(lipsync: LipSync, cached: Path, samples: Callable[[], list[FaceSample]]) -> Any | None:
    """The backend's knowledge, from the cache or from `samples()`; None where no face is seen."""
    arrays = load_arrays(cached)
    if arrays is not None:
        try:
            return lipsync.restore(arrays)
        except (KeyError, ValueError, TypeError, IndexError) as error:
            _log.warning("learned source ignored", path=str(cached), error=str(error))
    shown = samples()
    if not shown:
        return None
    source = lipsync.learn(shown)
    save_arrays(cached, lipsync.dump(source))
    return source


class Sampler:
    """Cuts samples from the first seconds with a face, following it on the way."""

    def __init__(self, source: Source, book: FaceBook, lipsync: LipSync, colours: Colours) -> None:
        self._source = source
        self._book = book
        self._lipsync = lipsync
        self._colours = colours
        self._frames = max(1, round(lipsync.learn_s * source.fps))

    def samples(self, limit: int, stopped: Callable[[], bool]) -> list[FaceSample]:
        """Samples from the first `limit` frames, evenly spaced, each studied beside the cutting of
        the next; empty where there is no face.

        Raises:
            StoppedError: `stopped` said so.
        """
        taken: list[FaceSample] = []
        with ThreadPoolExecutor(1, thread_name_prefix="dub-study") as side:
            studies: list[Future[Any]] = []
            for sample in self._cut(limit, stopped):
                taken.append(sample)
                studies.append(side.submit(self._lipsync.study, sample))
            return [
                replace(sample, studied=study.result())
                for sample, study in zip(taken, studies, strict=True)
            ]

    def _cut(self, limit: int, stopped: Callable[[], bool]) -> Iterator[FaceSample]:
        limit = min(limit, self._source.frames)
        first = self._known_start(limit)
        step, seen, count = 1, None, 0
        with closing(self._source.forward(first, limit)) as frames:
            for frame in frames:
                if frame.index % _CHECK_EVERY == 0 and stopped():
                    raise StoppedError("stopped while learning the face")
                if frame.index == self._book.known:
                    self._book.follow(frame.picture)
                if seen is None and self._book.glimpse(frame.index) is None:
                    continue
                seen = frame.index if seen is None else seen
                if frame.index - seen >= self._frames:
                    break
                if (frame.index - seen) % step == 0:
                    for sample in self._sample(frame.index, frame.picture):
                        count += 1
                        step = self._step(sample) if count == 1 else step
                        yield sample

    def _known_start(self, limit: int) -> int:
        """Where to begin to decode: frames that are known to have no face are passed over."""
        known = min(self._book.known, limit)
        faces = (index for index in range(known) if self._book.glimpse(index) is not None)
        return next(faces, known)

    def _sample(self, index: int, picture: Any) -> list[FaceSample]:
        pose = self._book.glimpse(index)  # what comes after may not be known yet
        if pose is None:
            return []
        crop = cut(picture, self._lipsync.crop_box(pose), self._colours)
        if crop is None:
            return []
        moved = pose.moved(-crop.x, -crop.y)
        return [FaceSample(crop.image, moved, float(index / self._source.fps))]

    def _step(self, sample: FaceSample) -> int:
        fitting = max(8, min(MOST_SAMPLES, SAMPLE_BYTES // max(1, sample.crop.nbytes)))
        return max(1, -(-self._frames // fitting))
