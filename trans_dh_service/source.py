"""The source video as upright 8-bit frames at a constant rate, forward, backward, from anywhere.

What it is not: which frames are wanted (plan.py) or what is done with them. Memory does not grow
with the video: forward one frame is held, backward one chunk of at most CHUNK_BYTES.

Variable rates are resampled by time: frame i shows the latest picture whose stamp is at most
i / fps plus half a frame; the half absorbs the rounding of millisecond stamps.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from trans_dh_service.picture import Turn, copy_of, shown_size, turn_of, upright
from trans_dh_service.plan import Run, runs
from trans_dh_service.probe import VideoInfo, open_media, video_stream
from trans_dh_service.task import Loop, MediaError, MediaLimits

CHUNK_BYTES = 96 * 1024**2
CHUNK_FRAMES = 32
"""More would hold small pictures by the hundred, for a way back that is fast with them anyway."""
SEEK_BACK_S = (0.0, 2.0, 10.0)
"""Where a container lands behind the wanted frame, it is asked again for so much earlier."""


@dataclass(frozen=True)
class Look:
    """What the encoder must know of the pictures: even size, shape of a pixel, colour tags."""

    width_px: int
    height_px: int
    pixel_aspect: Fraction
    color_range: int
    colorspace: int
    color_primaries: int
    color_trc: int


@dataclass(frozen=True)
class Stamps:
    """Times of a stream's packets in its time base, rising. `counted`: it has none, frames are
    numbered.
    """

    times: NDArray[np.int64]
    base: Fraction
    counted: bool
    packets: int

    @property
    def first(self) -> int:
        """The earliest time."""
        return int(self.times[0])

    @property
    def last(self) -> int:
        """The latest time."""
        return int(self.times[-1])

    def shown_at(self, ticks: int) -> int:
        """The latest time at or before `ticks`."""
        return int(self.times[max(0, int(np.searchsorted(self.times, ticks, "right")) - 1)])


@dataclass(frozen=True)
class SourceFrame:
    """Frame `index` of the constant-rate pass through the video."""

    index: int
    picture: av.VideoFrame


class Source:
    """One video file. Every walk opens it anew, so several may be under way."""

    def __init__(self, path: Path, info: VideoInfo, limits: MediaLimits) -> None:
        self.path = path
        self.fps = info.fps
        self._still = info.is_still
        self._limits = limits
        self._stamps = self._scan()
        self._turn, self.look = self._first_look()
        self.frames = self._length()
        frame_bytes = self.look.width_px * self.look.height_px * 3 // 2
        self.chunk_frames = max(2, min(CHUNK_FRAMES, CHUNK_BYTES // frame_bytes))

    def walk(self, first: int, last: int, loop: Loop) -> Generator[SourceFrame, None, None]:
        """The frames for output frames `first` up to but without `last`; each picture is the
        caller's own, to be changed at will.
        """
        for run in runs(first, last, self.frames, loop):
            yield from self._backward(run) if run.step < 0 else self.forward(run.start, run.stop)

    def forward(self, start: int, stop: int) -> Generator[SourceFrame, None, None]:
        """Frames `start` up to but without `stop`. Where the file ends early (cut off, damaged)
        its last picture stays.

        Raises:
            MediaError: nothing could be decoded at all.
        """
        held: av.VideoFrame | None = None
        want = start
        for ticks, frame in self._decoded_near(start):
            while held is not None and want < stop and not self._due(ticks, want):
                again = want + 1 < stop and not self._due(ticks, want + 1)
                yield SourceFrame(want, self._own(held, again))
                want += 1
            if want >= stop:
                return
            held = frame
        if held is None:
            raise MediaError("video", f"video {self.path.name!r}: no picture could be decoded")
        for index in range(want, stop):
            yield SourceFrame(index, self._own(held, index + 1 < stop))

    def _backward(self, run: Run) -> Iterator[SourceFrame]:
        high = run.start + 1
        while high > run.stop + 1:
            low = max(run.stop + 1, high - self.chunk_frames)
            chunk = list(self.forward(low, high))
            while chunk:
                yield chunk.pop()
            high = low

    def _due(self, ticks: int, index: int) -> bool:
        """Whether a picture stamped `ticks` after the first one may be shown at frame `index`."""
        base = self._stamps.base
        return (
            ticks * base.numerator * 2 * self.fps.numerator
            <= (2 * index + 1) * self.fps.denominator * base.denominator
        )

    def _own(self, frame: av.VideoFrame, again: bool) -> av.VideoFrame:
        """The upright picture of a decoded frame, apart from it when it is shown `again`."""
        made = upright(frame, (self.look.width_px, self.look.height_px), self._turn)
        return copy_of(made) if again and made is frame else made

    def _decoded_near(self, index: int) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decoded frames in the order of showing, with ticks since the first one of the file;
        starts at or before the one shown at frame `index`.
        """
        if index > 0 and not self._stamps.counted:
            for back_s in SEEK_BACK_S:
                found = self._decoded_after(index, back_s)
                first = next(found, None)
                if first is not None and self._due(first[0], index):
                    yield first
                    yield from found
                    return
                found.close()
        yield from self._decoded_from_start()

    def _decoded_after(
        self, index: int, back_s: float
    ) -> Generator[tuple[int, av.VideoFrame], None, None]:
        """Pictures from the key frame found at `back_s` before frame `index`; what a decoder gives
        before the key frame lacks its references and is dropped.
        """
        at = self._stamps.first + int((index / self.fps - Fraction(back_s)) / self._stamps.base)
        if at <= self._stamps.first:
            return
        with self._open() as container:
            stream = self._stream(container)
            try:
                container.seek(at, stream=stream, backward=True)
            except av.FFmpegError:
                return
            clean = False
            late_s = (index + Fraction(1, 2)) / self.fps
            wanted = self._stamps.shown_at(self._stamps.first + int(late_s / self._stamps.base))
            for frame in _frames(container, stream, wanted):
                clean = clean or frame.key_frame
                if clean and frame.pts is not None:
                    yield frame.pts - self._stamps.first, frame

    def _decoded_from_start(self) -> Iterator[tuple[int, av.VideoFrame]]:
        counted = self._stamps.counted
        with self._open() as container:
            for number, frame in enumerate(_frames(container, self._stream(container))):
                if counted:
                    yield number, frame
                elif frame.pts is not None:
                    yield frame.pts - self._stamps.first, frame

    def _scan(self) -> Stamps:
        """Read all packets once, without decoding: containers' own frame counts are often wrong."""
        stamps: list[int] = []
        packets = 0
        with self._open() as container:
            stream = video_stream(container, self.path)
            for packet in _packets(container, stream):
                packets += 1
                if packet.pts is not None and not packet.is_discard:
                    stamps.append(packet.pts)
            base = stream.time_base
        if base is None or not stamps or len(stamps) < packets // 2:
            return Stamps(np.arange(max(1, packets)), 1 / self.fps, True, packets)
        return Stamps(np.sort(np.array(stamps, np.int64)), base, False, packets)

    def _length(self) -> int:
        if self._still:
            return 1
        span = (self._stamps.last - self._stamps.first) * self._stamps.base
        length = round(span * self.fps) + 1
        most = int(self._limits.max_video_s * self._limits.max_fps)
        if length > most or self._stamps.packets > most:
            raise MediaError(
                "video",
                f"video {self.path.name!r}: {max(length, self._stamps.packets)} frames, at most "
                f"{most} are allowed",
            )
        return length

    def _first_look(self) -> tuple[Turn, Look]:
        for _, frame in self._decoded_from_start():
            turn = turn_of(frame)
            width, height = shown_size(frame, turn)
            made = upright(frame, (width, height), turn)
            colours = (made.color_range, made.colorspace, made.color_primaries, made.color_trc)
            aspect = self._pixel_aspect(turn)
            return turn, Look(width, height, aspect, *(int(tag) for tag in colours))
        raise MediaError("video", f"video {self.path.name!r}: no picture could be decoded")

    def _pixel_aspect(self, turn: Turn) -> Fraction:
        with self._open() as container:
            aspect = video_stream(container, self.path).sample_aspect_ratio
        if not aspect or aspect <= 0:
            return Fraction(1)
        return 1 / Fraction(aspect) if turn.quarters % 2 else Fraction(aspect)

    def _open(self) -> InputContainer:
        return open_media(self.path, "video", self._limits)

    def _stream(self, container: InputContainer) -> VideoStream:
        stream = video_stream(container, self.path)
        stream.thread_type = "AUTO"
        return stream


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
    """Packets up to the end or to where the file is damaged beyond reading."""
    try:
        yield from (packet for packet in container.demux(stream) if packet.size)
    except av.FFmpegError:
        return


def _frames(
    container: InputContainer, stream: VideoStream, wanted: int | None = None
) -> Iterator[av.VideoFrame]:
    """Decoded frames; damaged packets are passed over. Before the time `wanted` only those that
    others refer to are decoded, which saves about 40 % of the way to it.
    """
    context = stream.codec_context
    for packet in _packets(container, stream):
        early = wanted is not None and packet.pts is not None and packet.pts < wanted
        context.skip_frame = "NONREF" if early else "DEFAULT"
        try:
            yield from packet.decode()
        except av.FFmpegError:
            continue
    try:
        yield from stream.decode(None)
    except av.FFmpegError:
        return
