"""Frames in, finished segments out: one H.264 encoder per segment, MPEG-TS files with their sound.

What it is not: the joined MP4 (join.py). A segment starts with an IDR picture, refers to nothing
outside itself, and appears under its name only when it is whole and on the disk. Time stamps go on
across segments, and so do the continuity counters, even after a resume.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, partial
from pathlib import Path

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from numpy.typing import NDArray

from trans_dh_service.picture import PIX_FMT
from trans_dh_service.plan import Plan, segment_path, write_whole
from trans_dh_service.source import Look
from trans_dh_service.speech import AacFrame, Sound, aac_frames
from trans_dh_service.task import Encoding

PROVENANCE = "made with Mouthpiece, lips synthesised"
"""What every segment and the joined file say of themselves."""
TS_OFFSET_S = 10
"""Where the result's time 0 lies in the segments: decoding times before 0 must not be negative."""
CPU_INFO = Path("/proc/cpuinfo")
_UP_TO_AVX2 = "MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2"
_TS_PACKET = 188
_TS_TICKS = 90000


@dataclass(frozen=True, eq=False)
class CodedFrame:
    """An encoded picture; times are whole frames of the result (`dts` may be negative)."""

    data: bytes
    pts: int
    dts: int
    key: bool


@dataclass(frozen=True, eq=False)
class _Open:
    """A segment in work: its number, its encoder and what came out of that so far."""

    number: int
    encoder: VideoCodecContext
    coded: list[CodedFrame] = field(default_factory=list)

    def take(self, picture: av.VideoFrame | None) -> None:
        """Encode a picture; None for all that the encoder still holds."""
        for packet in self.encoder.encode(picture):
            if packet.pts is None or packet.dts is None:
                raise RuntimeError("libx264 gave a packet without time stamps")
            coded = CodedFrame(bytes(packet), packet.pts, packet.dts, packet.is_keyframe)
            self.coded.append(coded)


class Sink:
    """Takes the frames from the start of segment `first` on, one by one, in order. A full segment
    is completed in a thread while the next one's frames come: an encoder that is emptied leaves
    cores idle. Only the first of all is waited for: somebody may want to see it. To be closed at
    the end, come what may.
    """

    def __init__(
        self, work_dir: Path, plan: Plan, look: Look, sound: Sound, encoding: Encoding
    ) -> None:
        self._work_dir = work_dir
        self._plan = plan
        self._sound = sound
        self._fresh = partial(_encoder, plan, look, encoding)
        self._aac: Iterator[AacFrame] = iter(())
        self._waiting: AacFrame | None = None
        self._number = 0
        self._open: _Open | None = None
        self._side = ThreadPoolExecutor(1, thread_name_prefix="dub-segment")
        self._closing: deque[Future[int]] = deque()
        self._starts = {plan.start(segment) for segment in range(plan.segments)}

    def begin(self, segment: int) -> None:
        """Start at a segment; the sound before it is passed over."""
        self._number = segment
        self._aac = aac_frames(self._sound)
        self._waiting = next(self._aac, None)
        if segment:
            list(self._sound_until(segment))

    def write(self, index: int, picture: av.VideoFrame) -> list[int]:
        """Encode output frame `index`. Returns the segments that have become whole since.

        Every segment has an encoder of its own: its rate control remembers the frames before, so
        that otherwise a segment made after a resume or by another worker would differ.

        Raises:
            Exception: what encoding the frame or completing a segment raised.
        """
        opens = index in self._starts
        done = self._parted() if opens else []
        self._open = self._open or _Open(self._number, self._fresh())
        picture.pts = index
        picture.time_base = 1 / self._plan.fps
        picture.pict_type = PictureType.I if opens else PictureType.NONE
        self._open.take(picture)
        return done + self._done(0)

    def _parted(self) -> list[int]:
        self._part()
        return self._done(len(self._closing) if self._number == 1 else 0)

    def finish(self) -> list[int]:
        """Complete the segment in work, if there is one. Returns those that have become whole
        since.
        """
        self._part()
        return self._done(len(self._closing))

    def close(self) -> None:
        """End the thread; a segment that is being completed is."""
        self._side.shutdown()

    def _part(self) -> None:
        """Let the thread complete the segment in work."""
        if self._open is not None:
            self._closing.append(self._side.submit(self._complete, self._open))
            self._number += 1
            self._open = None

    def _done(self, least: int) -> list[int]:
        """The segments completed by now; waits for so many."""
        done: list[int] = []
        while self._closing and (len(done) < least or self._closing[0].done()):
            done.append(self._closing.popleft().result())
        return done

    def _complete(self, segment: _Open) -> int:
        """Write the gathered pictures and their sound as one file."""
        segment.take(None)
        number = segment.number
        heard = list(self._sound_until(number + 1))
        data = _muxed(self._plan, self._sound, segment.coded, heard)
        before = segment_path(self._work_dir, number - 1)
        if number and before.is_file():
            data = _counted_on(before, data)
        write_whole(segment_path(self._work_dir, number), data)
        return number

    def _sound_until(self, segment: int) -> Iterator[AacFrame]:
        """The sound that starts before a segment does; all that is left before the end."""
        ends = segment >= self._plan.segments
        limit = self._plan.start(segment) / self._plan.fps * self._sound.rate_hz
        while self._waiting is not None and (ends or self._waiting.start < limit):
            yield self._waiting
            self._waiting = next(self._aac, None)


def _encoder(plan: Plan, look: Look, encoding: Encoding) -> VideoCodecContext:
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = plan.width_px, plan.height_px
    encoder.pix_fmt = PIX_FMT
    encoder.time_base = 1 / plan.fps
    encoder.framerate = plan.fps
    encoder.gop_size = max(plan.segment_frames, 1)
    encoder.thread_count = encoding.threads
    # PyAV's own choice are slices: on two cores a quarter slower, and larger (docs/decisions/0088).
    encoder.thread_type = "FRAME"
    encoder.sample_aspect_ratio = look.pixel_aspect
    encoder.color_range = look.color_range
    encoder.colorspace = look.colorspace
    encoder.color_primaries = look.color_primaries
    encoder.color_trc = look.color_trc
    encoder.options = {
        "preset": encoding.preset,
        "crf": str(encoding.crf),
        "forced-idr": "1",
        "x264-params": f"open-gop=0{_steady_code()}",
    }
    return encoder


@cache
def _steady_code() -> str:
    """Keep x264 off its AVX-512 code, which now and then gives other bytes for equal pictures
    (docs/decisions/0078); empty on processors without it.
    """
    try:
        features = CPU_INFO.read_text(encoding="utf-8")
    except OSError:
        return ""
    return f":asm={_UP_TO_AVX2}" if "avx512f" in features else ""


def _muxed(plan: Plan, sound: Sound, coded: list[CodedFrame], heard: list[AacFrame]) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mpegts", options={"mpegts_copyts": "1"}) as container:
        container.metadata.update(service_provider="Mouthpiece", service_name=PROVENANCE)
        video = container.add_mux_stream(
            "h264", rate=plan.fps, width=plan.width_px, height=plan.height_px
        )
        audio = container.add_mux_stream("aac", rate=sound.rate_hz)
        packets = [_picture_packet(frame, plan, video) for frame in coded]
        packets += [_sound_packet(frame, sound, audio) for frame in heard]
        packets.sort(key=_decoding_time)
        for packet in packets:
            container.mux_one(packet)
    return buffer.getvalue()


def _picture_packet(
    frame: CodedFrame, plan: Plan, stream: av.stream.Stream
) -> av.Packet[av.stream.Stream]:
    packet = av.Packet(frame.data)
    packet.stream = stream
    packet.time_base = Fraction(1, _TS_TICKS)
    packet.pts, packet.dts = (
        segment_ticks(frame.pts / plan.fps),
        segment_ticks(frame.dts / plan.fps),
    )
    packet.duration = segment_ticks(1 / plan.fps) - segment_ticks(Fraction(0))
    packet.is_keyframe = frame.key
    return packet


def _sound_packet(
    frame: AacFrame, sound: Sound, stream: av.stream.Stream
) -> av.Packet[av.stream.Stream]:
    packet = av.Packet(frame.data)
    packet.stream = stream
    packet.time_base = Fraction(1, _TS_TICKS)
    packet.pts = packet.dts = segment_ticks(Fraction(frame.start, sound.rate_hz))
    packet.is_keyframe = True
    return packet


def segment_ticks(at_s: Fraction) -> int:
    """A time of the result as a segment's 90 kHz stamp."""
    return round((at_s + TS_OFFSET_S) * _TS_TICKS)


def frame_number(ticks: int, fps: Fraction) -> int:
    """The frame that a segment's time stamp means: the inverse of the sink's rounding."""
    return round((Fraction(ticks, _TS_TICKS) - TS_OFFSET_S) * fps)


def _decoding_time(packet: av.Packet[av.stream.Stream]) -> int:
    return packet.dts or 0


def _counted_on(before: Path, data: bytes) -> bytes:
    """The segment with its 4-bit continuity counters going on from the file before it (ISO/IEC
    13818-1, 2.4.3.3), so that players that check them see no gap.
    """
    old, new = _ts_packets(before.read_bytes()), _ts_packets(data).copy()
    old_pids, new_pids = _pids(old), _pids(new)
    for pid in np.unique(new_pids):
        last = old[old_pids == pid]
        mine = new_pids == pid
        if len(last) == 0:
            continue
        first = new[mine][0, 3]
        shift = int(last[-1, 3]) + int(bool(first & 0x10)) - int(first)
        counters = (new[mine, 3].astype(np.int64) + shift) & 0x0F
        new[mine, 3] = (new[mine, 3] & 0xF0) | counters.astype(np.uint8)
    return new.tobytes()


def _ts_packets(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8).reshape(-1, _TS_PACKET)


def _pids(packets: NDArray[np.uint8]) -> NDArray[np.int64]:
    return (packets[:, 1].astype(np.int64) & 0x1F) << 8 | packets[:, 2]
