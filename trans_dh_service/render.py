"""The frames of some segments: decode and follow, cut and ask for lips, blend and encode, at once.

What it is not: the whole dub (pipeline.py). Three threads and bounded queues between them; the
caller's thread is the last stage.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from models.lipsync.base import LipItem, LipPatch
from trans_dh_service.compose import Colours, Crop, cut, paste
from trans_dh_service.faces import FaceBook
from trans_dh_service.flow import Channel, Clock, Flow, HaltedError
from trans_dh_service.plan import Plan, source_frame
from trans_dh_service.sink import Sink
from trans_dh_service.source import Source
from trans_dh_service.speech import Sound, SpeechReader
from trans_dh_service.task import DubTools, DubWatch, StoppedError

FRAMES_BYTES = 96 * 1024**2
"""Pictures that wait for their lips stay below this."""
DECODED_AHEAD = 4
_CHECK_EVERY = 8
_WAIT_S = 0.25


@dataclass(frozen=True)
class Scene:
    """All that the stages work with. `learned` is None where the video shows no face."""

    work_dir: Path
    plan: Plan
    source: Source
    book: FaceBook
    sound: Sound
    colours: Colours
    learned: Any | None
    tools: DubTools
    watch: DubWatch
    clock: Clock


@dataclass(frozen=True, eq=False)
class Shot:
    """Output frame `index` before its lips are asked for; `source` is its number in the video."""

    index: int
    source: int
    picture: av.VideoFrame


@dataclass(frozen=True, eq=False)
class Work:
    """A frame whose lips are under way; `future` and `crop` are None where there is no face."""

    shot: Shot
    gain: float = 0.0
    crop: Crop | None = None
    future: Future[LipPatch] | None = None

    def drop(self) -> None:
        """Nobody waits for the lips any more."""
        if self.future is not None:
            self.future.cancel()


class Render:
    """One run over the segments `first` up to but without `end`."""

    def __init__(self, scene: Scene, first: int, end: int) -> None:
        self._scene = scene
        self._plan = scene.plan
        self._segments = (first, end)
        self._frames = (self._plan.start(first), self._plan.start(end))
        self._flow = Flow()
        self._shots: Channel[Shot] = self._flow.channel(DECODED_AHEAD)
        self._works: Channel[Work] = self._flow.channel(self._ahead())

    def run(self, frames_before: int) -> int:
        """Make the segments; `frames_before` were finished earlier (for the progress). Returns how
        many segments were made.

        Raises:
            StoppedError: the watch said so.
            Exception: whatever a stage or the lane raised.
        """
        self._flow.spawn("dub-decode", self._decode)
        self._flow.spawn("dub-lips", self._lips)
        made = 0
        try:
            made = self._encode(frames_before)
        except BaseException as error:  # noqa: BLE001 - every stage must end; `join` raises it
            self._flow.halt(error)
        finally:
            self._end()
        return made

    def _end(self) -> None:
        try:
            self._flow.join()
        finally:
            for work in self._works.left():
                work.drop()

    def _ahead(self) -> int:
        """About two batches of frames in work, fewer of very large ones."""
        frame_bytes = self._plan.width_px * self._plan.height_px * 3 // 2
        return max(2, min(2 * self._scene.tools.lipsync.max_batch, FRAMES_BYTES // frame_bytes))

    # Stage 1: decode and follow

    def _decode(self) -> None:
        first, last = self._frames
        self._catch_up(first)
        waiting: deque[Shot] = deque()
        clock, plan = self._scene.clock, self._plan
        with closing(self._scene.source.walk(first, last, plan.loop)) as frames:
            for index in range(first, last):
                if index % _CHECK_EVERY == 0:
                    self._check()
                with clock.busy("decode"):
                    frame = next(frames)
                self._follow(frame.index, frame.picture)
                waiting.append(Shot(index, frame.index, frame.picture))
                while waiting and self._decided(waiting[0].source):
                    self._shots.put(waiting.popleft())
        for shot in waiting:
            self._shots.put(shot)
        self._shots.close()

    def _catch_up(self, first: int) -> None:
        """Follow what a resumed run would skip but the cache does not know."""
        book = self._scene.book
        wanted = source_frame(first, self._plan.source_frames, self._plan.loop)
        target = book.frames if first >= book.frames else wanted
        if self._scene.learned is None or book.known >= target:
            return
        with closing(self._scene.source.forward(book.known, target)) as frames:
            for frame in frames:
                self._follow(frame.index, frame.picture)
                if frame.index % _CHECK_EVERY == 0:
                    self._check()

    def _follow(self, index: int, picture: av.VideoFrame) -> None:
        book = self._scene.book
        if self._scene.learned is not None and index == book.known:
            with self._scene.clock.busy("faces"):
                book.follow(picture)

    def _decided(self, index: int) -> bool:
        return self._scene.learned is None or self._scene.book.decided(index)

    # Stage 2: cut and ask for lips

    def _lips(self) -> None:
        scene = self._scene
        reader = SpeechReader(scene.sound, scene.tools.speech, self._plan.fps, self._plan.frames)
        for shot in self._shots:
            work = self._asked(shot, reader)
            try:
                self._works.put(work)
            except HaltedError:
                work.drop()
                raise
        self._works.close()

    def _asked(self, shot: Shot, reader: SpeechReader) -> Work:
        scene = self._scene
        pose = None if scene.learned is None else scene.book.pose(shot.source)
        if pose is None:
            return Work(shot)
        with scene.clock.busy("cut"):
            crop = cut(shot.picture, scene.tools.lipsync.crop_box(pose), scene.colours)
        if crop is None:
            return Work(shot)
        with scene.clock.busy("speech"):
            feature = reader.feature(shot.index)
        item = LipItem(crop.image, pose.moved(-crop.x, -crop.y), feature, scene.learned)
        gain = scene.book.gain(shot.source)
        return Work(shot, gain, crop, scene.tools.submit(item))

    # Stage 3: blend and encode

    def _encode(self, frames_before: int) -> int:
        scene = self._scene
        sink = Sink(
            scene.work_dir, self._plan, scene.source.look, scene.sound, scene.tools.encoding
        )
        sink.begin(self._segments[0])
        made = 0
        for count, work in enumerate(self._works, 1):
            self._blend(work)
            with scene.clock.busy("encode"):
                done = sink.write(work.shot.index, work.shot.picture)
            made += self._tell(done)
            if count % _CHECK_EVERY == 0:
                self._check()
                scene.watch.progress(frames_before + count, self._plan.frames)
        with scene.clock.busy("encode"):
            done = sink.finish()
        return made + self._tell(done)

    def _blend(self, work: Work) -> None:
        if work.future is None or work.crop is None:
            return
        with self._scene.clock.busy("wait for lips"):
            patch = self._patch(work.future)
        with self._scene.clock.busy("blend"):
            paste(work.shot.picture, work.crop, patch, work.gain, self._scene.colours)

    def _patch(self, future: Future[LipPatch]) -> LipPatch:
        """The lane's answer; a stop or another stage's failure is not waited out."""
        while not wait((future,), _WAIT_S).done:
            self._check()
            if self._flow.halted:
                raise HaltedError
        return future.result()

    def _tell(self, segments: list[int]) -> int:
        for segment in segments:
            self._scene.watch.segment(segment, self._plan.segments)
        return len(segments)

    def _check(self) -> None:
        if self._scene.watch.stopped():
            raise StoppedError("the dub was asked to stop")
