"""A dub: a video and a recording in, one MP4 with speaking lips out. Resumes where it was stopped.

What it is not: a job (server/jobs) or a model. The order of work: look at both files, decode the
sound while the face is learned, write the plan, render the missing segments, join them.
"""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from contextvars import copy_context
from dataclasses import asdict, replace
from typing import Any

import cv2
import numpy as np
import structlog

from face_detect_utils.base import LandmarkModel
from models.lipsync.base import LipSync
from runtime.interpreter import share
from trans_dh_service.cache import content_hash, open_folder
from trans_dh_service.compose import colours_for
from trans_dh_service.faces import FaceBook
from trans_dh_service.flow import Clock
from trans_dh_service.join import Joiner, SegmentError
from trans_dh_service.learn import Sampler, learned
from trans_dh_service.plan import (
    Plan,
    frames_for,
    gaps,
    load_plan,
    save_plan,
    segment_frames_for,
    source_frame,
)
from trans_dh_service.probe import probe_audio, probe_video
from trans_dh_service.quiet import Quiet
from trans_dh_service.render import Render
from trans_dh_service.scene import Resting, Scene
from trans_dh_service.source import Source
from trans_dh_service.speech import Sound, prepare_sound
from trans_dh_service.task import (
    DubResult,
    DubTask,
    DubTools,
    DubWatch,
    RestoreTools,
    RestTools,
    Stage,
    StoppedError,
)

_log = structlog.get_logger(__name__)
_PIPELINE_VERSION = 4


def dub(task: DubTask, tools: DubTools, watch: DubWatch) -> DubResult:
    """Make the video speak the recording.

    Finished segments in `task.work_dir` of the same inputs and settings are kept; `task.output`
    appears whole, checked, under its name, or not at all.

    Raises:
        MediaError: an input cannot be used.
        StoppedError: the watch asked to stop; what is finished stays.
        Exception: what the models or the disk raised.
    """
    _tune()
    return _Dub(task, tools, watch).run()


def dub_range(task: DubTask, tools: DubTools, watch: DubWatch, first: int, end: int) -> int:
    """Make the missing segments `first` up to but without `end` of a dub that another worker plans
    and joins; how many were made. The same task gives the same pictures, whoever makes them.

    Raises:
        StoppedError: the watch asked to stop, or the work folder holds another plan.
        Exception: as `dub`.
    """
    _tune()
    return _Dub(task, tools, watch).help(first, end)


def _tune() -> None:
    """Two settings of the process that the stages need to run side by side.

    The encoder's thread must get the interpreter back at once after each frame, or libx264 idles,
    and OpenCV's own threads for calls of a millisecond only push the encoder off its cores.
    Together about 20 % of the time of a dub on two cores (docs/decisions/0050).
    """
    share()
    cv2.setNumThreads(1)


class _Dub:
    def __init__(self, task: DubTask, tools: DubTools, watch: DubWatch) -> None:
        self._task = task
        self._tools = tools
        self._watch = watch
        self._clock = Clock()

    def run(self) -> DubResult:
        self._watch.stage(Stage.PREPARE)
        self._task.work_dir.mkdir(parents=True, exist_ok=True)
        for left in self._task.work_dir.glob("*.part"):
            left.unlink(missing_ok=True)
        scene = self._scene()
        self._put_plan(scene.plan)
        self._watch.stage(Stage.RENDER)
        made = self._render(scene)
        self._watch.stage(Stage.JOIN)
        try:
            self._join(scene)
        except SegmentError as error:
            _log.warning("segment made again", reason=str(error))
            made += self._render(scene)
            self._join(scene)
        return self._result(scene, made)

    def help(self, first: int, end: int) -> int:
        plan = load_plan(self._task.work_dir)
        scene = self._scene()
        if plan is None or scene.plan != plan:
            raise StoppedError("the work folder holds no plan of this task")
        made = self._fill(scene, first, end)
        scene.book.keep()
        return made

    def _scene(self) -> Scene:
        """Look at the inputs and learn what is needed of both, side by side."""
        task, tools, clock = self._task, self._tools, self._clock
        with clock.busy("open"):
            info = probe_video(task.video, tools.limits)
            audio = probe_audio(task.audio, tools.limits)
            hashes = (content_hash(task.video), content_hash(task.audio))
            source = Source(task.video, info, tools.limits)
        folder = open_folder(tools.cache_dir, hashes[0])
        book = FaceBook(tools.detector, task.detect_every, source, folder, self._landmarks)
        look = source.look
        colours = colours_for(look.colorspace, look.color_range, look.height_px)
        with ThreadPoolExecutor(1, thread_name_prefix="dub-sound") as side:
            # A pool's thread knows nothing of the job; its log lines should.
            sounding = side.submit(copy_context().run, self._sound, hashes[1])
            with clock.busy("learn"):
                limit = frames_for(audio.duration_s + 1, source.fps)
                known = self._learned(tools.lipsync, source, book, limit)
            self._watch.stage(Stage.SPEECH)
            sound = sounding.result()
        plan = self._plan(source, sound, hashes)
        scene = Scene(
            task.work_dir, plan, source, book, sound, colours, known, tools, self._watch, clock
        )
        rest = None if known is None else self._resting(scene)
        return replace(scene, rest=rest, restore=self._restore, watermark=task.watermark)

    @property
    def _rest(self) -> RestTools | None:
        """What paints resting mouths; None where the backend itself is as cheap."""
        return self._tools.rest if self._tools.lipsync.infers else None

    @property
    def _restore(self) -> RestoreTools | None:
        return self._tools.restore if self._task.restore else None

    @property
    def _landmarks(self) -> LandmarkModel | None:
        return self._tools.landmarks if self._tools.lipsync.wants_landmarks else None

    def _resting(self, scene: Scene) -> Resting | None:
        """Where the mouth rests, and what the cheap backend must know for it."""
        tools, plan = self._rest, scene.plan
        if tools is None:
            return None
        with self._clock.busy("quiet"):
            quiet = Quiet(scene.sound, plan.fps, plan.frames)
        if not quiet.any:
            return None
        with self._clock.busy("learn"):
            known = self._learned(tools.lipsync, scene.source, scene.book, plan.frames)
        return None if known is None else Resting(tools, known, quiet)

    def _sound(self, source_hash: str) -> Sound:
        task = self._task
        with self._clock.busy("sound"):
            return prepare_sound(
                task.audio, task.work_dir, self._tools.limits, source_hash, self._watch.stopped
            )

    def _learned(self, lipsync: LipSync, source: Source, book: FaceBook, limit: int) -> Any | None:
        """What a backend knows of the source, shown at most its first `limit` frames, with a place
        for more; None where no face is seen.
        """
        look = source.look
        colours = colours_for(look.colorspace, look.color_range, look.height_px)
        sampler = Sampler(source, book, lipsync, colours)
        cached = book.folder / f"learned-{lipsync.name}.npz"
        known = learned(lipsync, cached, lambda: sampler.samples(limit, self._watch.stopped))
        if known is None:
            return None
        # Below the detector's folder: what is kept of a frame depends on where its face was seen.
        return lipsync.attach(known, book.folder / f"frames-{lipsync.name}")

    def _plan(self, source: Source, sound: Sound, hashes: tuple[str, str]) -> Plan:
        """The shape of the result."""
        return Plan(
            fps=source.fps,
            frames=frames_for(sound.seconds, source.fps),
            segment_frames=segment_frames_for(self._task.segment_s, source.fps),
            width_px=source.look.width_px,
            height_px=source.look.height_px,
            source_frames=source.frames,
            loop=self._task.loop,
            seconds=sound.seconds,
            fingerprint=self._fingerprint(hashes),
        )

    def _put_plan(self, plan: Plan) -> None:
        """Write the plan down; one of other inputs is thrown away with its segments."""
        if load_plan(self._task.work_dir) != plan:
            for path in self._task.work_dir.glob("segment_*"):
                path.unlink()
            save_plan(self._task.work_dir, plan)

    def _fingerprint(self, hashes: tuple[str, str]) -> str:
        tools = self._tools
        encoding = {**asdict(tools.encoding), "threads": 0}
        models = (tools.detector.name, tools.speech.name, tools.lipsync.name)
        more = (
            self._rest.lipsync.name if self._rest else "",
            self._restore.name if self._restore else "",
            self._task.watermark,
            self._landmarks.name if self._landmarks else "",
        )
        parts = (*hashes, *models, *more, self._task.detect_every, encoding, _PIPELINE_VERSION)
        text = json.dumps(parts, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def _render(self, scene: Scene) -> int:
        """Make what is missing, maybe with others; returns the number of segments made here."""
        plan, made = scene.plan, 0
        if self._task.share is not None:
            with closing(self._task.share(scene.work_dir, plan)) as parts:
                for first, end in parts:
                    made += self._fill(scene, first, end)
            scene.book.refresh()
        made += self._fill(scene, 0, plan.segments)
        self._watch.progress(plan.frames, plan.frames)
        return made

    def _fill(self, scene: Scene, first: int, end: int) -> int:
        """Make the missing segments `first` up to but without `end`."""
        plan, made = scene.plan, 0
        for start, stop in gaps(scene.work_dir, plan, first, end):
            if self._watch.stopped():
                raise StoppedError("the dub was asked to stop")
            missing = sum(plan.start(b) - plan.start(a) for a, b in gaps(scene.work_dir, plan))
            made += Render(scene, start, stop).run(plan.frames - missing)
        return made

    def _join(self, scene: Scene) -> None:
        with self._clock.busy("join"):
            Joiner(
                scene.work_dir,
                scene.plan,
                scene.sound,
                self._task.output,
                self._makers(),
                self._watch.stopped,
            ).join()

    def _makers(self) -> str:
        """The models that made the picture, for the file's description."""
        name = self._tools.lipsync.name
        return f"{name}, face restored by {self._restore.name}" if self._restore else name

    def _result(self, scene: Scene, made: int) -> DubResult:
        plan = scene.plan
        shown = [source_frame(i, plan.source_frames, plan.loop) for i in range(plan.frames)]
        faces = 0 if scene.learned is None else scene.book.with_face(shown)
        rested: list[int] = []
        if scene.rest is not None:
            rested = [shown[i] for i in np.flatnonzero(scene.rest.quiet.resting)]
        return DubResult(
            path=self._task.output,
            seconds=float(plan.frames / plan.fps),
            width_px=plan.width_px,
            height_px=plan.height_px,
            fps=float(plan.fps),
            frames=plan.frames,
            frames_with_face=faces,
            segments_made=made,
            wall_s=self._clock.wall_s,
            stage_s={part: round(spent, 3) for part, spent in self._clock.busy_s().items()},
            frames_rested=scene.book.with_face(rested) if rested else 0,
            restored=self._restore is not None and faces > 0,
        )
