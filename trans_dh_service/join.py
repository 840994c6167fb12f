"""The finished segments and the sound become one MP4, by stream copy; then it is checked.

What it is not: an encoder. Times are computed anew from frame numbers, so the 90 kHz rounding of
the segments does not reach the result: fractional rates are exact.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.stream import Stream

from trans_dh_service.plan import Plan, segment_path
from trans_dh_service.sink import PROVENANCE, frame_number
from trans_dh_service.speech import Sound, aac_frames
from trans_dh_service.task import StoppedError


class SegmentError(RuntimeError):
    """A segment on disk is damaged. It has been removed, so that the next attempt makes it anew."""


class ResultError(RuntimeError):
    """The joined file is not what was planned; it has been removed."""


@dataclass(frozen=True)
class Joiner:
    """What is joined, and where to."""

    work_dir: Path
    plan: Plan
    sound: Sound
    output: Path
    model: str
    stopped: Callable[[], bool]

    def join(self) -> None:
        """Write the MP4 beside its place, check it, rename it into place.

        Raises:
            SegmentError: a segment is damaged.
            ResultError: the result failed its check.
            StoppedError: `stopped` said so.
        """
        self.output.parent.mkdir(parents=True, exist_ok=True)
        part = self.output.with_name(self.output.name + ".part")
        try:
            self._write(part)
            check(part, self.plan, self.sound)
            _sync(part)
            part.replace(self.output)
        finally:
            part.unlink(missing_ok=True)

    def _write(self, part: Path) -> None:
        with (
            av.open(str(segment_path(self.work_dir, 0)), format="mpegts") as first,
            av.open(str(self.sound.aac), format="aac") as sound,
            av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as made,
        ):
            self._describe(made)
            video = made.add_stream_from_template(first.streams.video[0])
            audio = made.add_stream_from_template(sound.streams.audio[0])
            video.time_base = 1 / self.plan.fps
            audio.time_base = Fraction(1, self.sound.rate_hz)
            heard = self._heard(audio)
            waiting = next(heard, None)
            for packet in self._seen(video):
                at = (packet.dts or 0) / self.plan.fps
                while waiting is not None and (waiting.pts or 0) / self.sound.rate_hz <= at:
                    made.mux_one(waiting)
                    waiting = next(heard, None)
                made.mux_one(packet)
            while waiting is not None:
                made.mux_one(waiting)
                waiting = next(heard, None)

    def _describe(self, made: OutputContainer) -> None:
        made.metadata.update(
            {
                "title": "Talking video",
                "comment": PROVENANCE,
                "description": f"{PROVENANCE} by the model {self.model}",
            }
        )

    def _seen(self, stream: av.VideoStream) -> Iterator[av.Packet[av.VideoStream]]:
        """The pictures of all segments with whole frames as times."""
        for segment in range(self.plan.segments):
            if self.stopped():
                raise StoppedError("stopped while joining")
            count = 0
            for packet in self._segment_packets(segment):
                packet.stream = stream
                packet.time_base = 1 / self.plan.fps
                packet.pts = frame_number(packet.pts or 0, self.plan.fps)
                packet.dts = frame_number(packet.dts or 0, self.plan.fps)
                packet.duration = 1
                count += 1
                yield packet
            expected = self.plan.start(segment + 1) - self.plan.start(segment)
            if count != expected:
                raise self._damaged(segment, f"{count} pictures instead of {expected}")

    def _segment_packets(self, segment: int) -> Iterator[av.Packet[av.VideoStream]]:
        path = segment_path(self.work_dir, segment)
        try:
            with av.open(str(path), format="mpegts") as container:
                for packet in container.demux(container.streams.video[0]):
                    if packet.size:
                        yield packet
        except (av.FFmpegError, IndexError) as error:
            raise self._damaged(segment, str(error)) from error

    def _damaged(self, segment: int, why: str) -> SegmentError:
        path = segment_path(self.work_dir, segment)
        path.unlink(missing_ok=True)
        return SegmentError(f"{path.name} is damaged ({why}); it has to be made again")

    def _heard(self, stream: av.AudioStream) -> Iterator[av.Packet[Stream]]:
        for frame in aac_frames(self.sound):
            packet = av.Packet(frame.data)
            packet.stream = stream
            packet.time_base = Fraction(1, self.sound.rate_hz)
            packet.pts = packet.dts = frame.start
            packet.duration = frame.samples
            packet.is_keyframe = True
            yield packet


def check(path: Path, plan: Plan, sound: Sound) -> None:
    """Probe a finished file: both streams, every frame, sound and picture within one frame.

    Raises:
        ResultError: with what is wrong.
    """
    with av.open(str(path)) as made:
        if not made.streams.video or not made.streams.audio:
            raise ResultError(f"{path.name}: a stream is missing")
        video, audio = made.streams.video[0], made.streams.audio[0]
        if video.frames != plan.frames:
            raise ResultError(f"{path.name}: {video.frames} frames instead of {plan.frames}")
        lengths = [_length(made, stream) for stream in (video, audio)]
        frame_s = float(1 / plan.fps)
        if abs(lengths[0] - lengths[1]) > frame_s + 0.001:
            raise ResultError(
                f"{path.name}: {lengths[0]:.3f} s of pictures, {lengths[1]:.3f} s of sound"
            )
        if abs(lengths[1] - sound.seconds) > 0.001 + 1 / sound.rate_hz:
            raise ResultError(
                f"{path.name}: {lengths[1]:.3f} s of sound instead of {sound.seconds:.3f} s"
            )


def _length(made: InputContainer, stream: av.VideoStream | av.AudioStream) -> float:
    if stream.duration is None or stream.time_base is None:
        raise ResultError(f"{Path(made.name).name}: a {stream.type} stream without a length")
    return float(stream.duration * stream.time_base)


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
