"""The frames of some segments: decode and follow, cut and ask for lips, blend and encode, at once.

What it is not: the whole dub (pipeline.py). Three threads and bounded queues between them; the
caller's thread is the last stage. Where faces are sharpened, a fourth blends the lips and asks the
restorer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, wait
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import av

from trans_dh_service.compose import paste
from trans_dh_service.faces import CHUNK_FRAMES
from trans_dh_service.flow import Channel, Flow, HaltedError
from trans_dh_service.mark import Mark
from trans_dh_service.paint import Painter, Work
from trans_dh_service.plan import source_frame
from trans_dh_service.retouch import Retouch, Retouched
from trans_dh_service.scene import Scene, Shot
from trans_dh_service.sink import Sink
from trans_dh_service.task import StoppedError

FRAMES_BYTES = 96 * 1024**2
"""Pictures that wait for their lips stay below this; those that wait for the restorer too."""
DECODED_AHEAD = 4
_CHECK_EVERY = 8
_WAIT_S = 0.25


@dataclass(frozen=True, eq=False)
class Painted:
    """A shot with its lips; its face may be on its way through the restorer."""

    work: Work
    face: Retouched | None = None

    def drop(self) -> None:
        """Nobody waits for the face any more."""
        if self.face is not None:
            self.face.future.cancel()


class Render:
    """One run over the segments `first` up to but without `end`."""

    def __init__(self, scene: Scene, first: int, end: int) -> None:
        self._scene = scene
        self._plan = scene.plan
        self._segments = (first, end)
        self._frames = (self._plan.start(first), self._plan.start(end))
        self._flow = Flow()
        self._shots: Channel[Shot] = self._flow.channel(DECODED_AHEAD)
        self._works: Channel[Work] = self._flow.channel(self._ahead(scene.tools.lipsync.max_batch))
        self._painter = Painter(scene)
        self._retouch = Retouch(scene.restore, scene.colours) if scene.restore else None
        self._painted: Channel[Painted] = self._flow.channel(
            self._ahead(scene.restore.max_batch if scene.restore else 1)
        )

    def run(self, frames_before: int) -> int:
        """Make the segments; `frames_before` were finished earlier (for the progress). Returns how
        many segments were made.

        Raises:
            StoppedError: the watch said so.
            Exception: whatever a stage or the lane raised.
        """
        self._flow.spawn("dub-decode", self._decode)
        self._flow.spawn("dub-lips", self._lips)
        if self._retouch is not None:
            self._flow.spawn("dub-faces", self._faces)
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
            for painted in self._painted.left():
                painted.drop()

    def _ahead(self, batch: int) -> int:
        """About two batches of frames in work, fewer of very large ones."""
        frame_bytes = self._plan.width_px * self._plan.height_px * 3 // 2
        return max(2, min(2 * batch, FRAMES_BYTES // frame_bytes))

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
        self._look_ahead(waiting)
        for shot in waiting:
            self._shots.put(shot)
        self._shots.close()

    def _catch_up(self, first: int) -> None:
        """Follow what a resumed run would skip but the cache does not know."""
        book = self._scene.book
        wanted = source_frame(first, self._plan.source_frames, self._plan.loop)
        target = book.frames if first >= book.frames else wanted
        self._follow_to(target)

    def _look_ahead(self, waiting: Iterable[Shot]) -> None:
        """Follow a little beyond the end: the last frames' faces must not depend on where this run
        ends.
        """
        late = [shot.source for shot in waiting if not self._decided(shot.source)]
        if late:
            self._follow_to(self._scene.book.horizon(max(late)))

    def _follow_to(self, target: int) -> None:
        """Follow up to but without frame `target`, or take what others have learned of it."""
        book = self._scene.book
        if self._scene.learned is None or book.known >= target:
            return
        book.refresh()
        if book.known >= target:
            return
        with closing(self._scene.source.forward(book.known, target)) as frames:
            for frame in frames:
                if frame.index % CHUNK_FRAMES == 0:
                    book.refresh()
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
        for shot in self._shots:
            self._pass_on(self._works, self._painter.ask(shot))
        self._works.close()

    def _pass_on(self, channel: Channel[Any], work: Work | Painted) -> None:
        try:
            channel.put(work)
        except HaltedError:
            work.drop()
            raise

    # Stage 3, only where faces are sharpened: blend and ask the restorer

    def _faces(self) -> None:
        for work in self._works:
            self._blended(work)
            self._pass_on(self._painted, Painted(work, self._asked(work)))
        self._painted.close()

    def _blended(self, work: Work) -> Work:
        self._painter.blend(work, self._result)
        return work

    def _asked(self, work: Work) -> Retouched | None:
        if self._retouch is None or work.pose is None:
            return None
        with self._scene.clock.busy("restore"):
            return self._retouch.ask(work.shot.picture, work.pose)

    # The last stage: finish and encode

    def _encode(self, frames_before: int) -> int:
        scene = self._scene
        sink = Sink(
            scene.work_dir, self._plan, scene.source.look, scene.sound, scene.tools.encoding
        )
        made = 0
        with closing(sink):
            sink.begin(self._segments[0])
            for count, shot in enumerate(self._finished(), 1):
                with scene.clock.busy("encode"):
                    done = sink.write(shot.index, shot.picture)
                made += self._tell(done)
                if count % _CHECK_EVERY == 0:
                    self._check()
                    scene.watch.progress(frames_before + count, self._plan.frames)
            with scene.clock.busy("encode"):
                done = sink.finish()
        return made + self._tell(done)

    def _finished(self) -> Iterable[Shot]:
        """The shots with all that is painted on them, in order."""
        plan, text = self._plan, self._scene.watermark
        mark = Mark(text, plan.width_px, plan.height_px, self._scene.colours) if text else None
        for work in self._sharpened() if self._retouch else map(self._blended, self._works):
            if mark is not None:
                with self._scene.clock.busy("mark"):
                    mark.paint(work.shot.picture)
            yield work.shot

    def _sharpened(self) -> Iterable[Work]:
        for painted in self._painted:
            if painted.face is not None and self._retouch is not None:
                with self._scene.clock.busy("wait for restorer"):
                    face = self._result(painted.face.future)
                with self._scene.clock.busy("blend"):
                    patch = self._retouch.patch(painted.face, face)
                    work = painted.work
                    paste(work.shot.picture, patch, work.gain, self._scene.colours)
            yield painted.work

    def _result(self, future: Future[Any]) -> Any:
        """The lane's answer; a stop or another stage's failure is not waited out."""
        while not wait((future,), _WAIT_S).done:
            self._check()
            if self._flow.halted:
                raise HaltedError
        return future.result()

    def _tell(self, segments: list[int]) -> int:
        for segment in segments:
            self._scene.watch.segment(segment, self._plan.segments)
            self._scene.watch.wrote(self._plan.start(segment + 1) - self._plan.start(segment))
        return len(segments)

    def _check(self) -> None:
        if self._scene.watch.stopped():
            raise StoppedError("the dub was asked to stop")
