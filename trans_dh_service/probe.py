"""What a file is: opened safely, described, or refused with the reason.

What it is not: the decoder of whole files (source.py, speech.py). It reads headers and decodes one
picture or a few packets of sound, so that a submit can call it. Imports av and nothing heavier.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from trans_dh_service.task import MediaError, MediaLimits

STILL_FPS = Fraction(25)
"""Rate at which a still picture, or a video slower than MIN_FPS, is shown."""
MIN_FPS = 1
MIN_SIDE_PX = 16
MAX_STREAMS = 64
FIRST_PACKETS = 400
"""A decoder that has given nothing after so many packets will give nothing (GOPs are shorter)."""

# Containers that hold their own data. Not here on purpose: hls, dash, concat, image2, sdp, rtsp,
# vobsub, lavfi, ffmetadata: they name other files or addresses, which a stranger's upload may not.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h264,hevc,ivf,obu,flv,"
    "asf,ogg,nut,mxf,dv,gif,apng,mjpeg,yuv4mpegpipe,"
    "jpeg_pipe,png_pipe,webp_pipe,bmp_pipe,tiff_pipe,"
    "wav,w64,mp3,flac,aac,ac3,eac3,aiff,caf,amr,au,ape,wv,tta,dts"
)
_PICTURES = {
    b"\xff\xd8\xff": "jpeg_pipe",
    b"\x89PNG\r\n\x1a\n": "png_pipe",
    b"II*\0": "tiff_pipe",
    b"MM\0*": "tiff_pipe",
}
STANDARD_RATES = tuple(
    Fraction(rate)
    for rate in ("24000/1001", "24", "25", "30000/1001", "30", "50", "60000/1001", "60", "15", "12")
)
_SAFELY: dict[str, Any] = {
    "container_options": {"format_whitelist": FORMATS, "protocol_whitelist": "file"},
    "metadata_errors": "replace",
}
RATE_SNAP = 0.0002
"""Containers with millisecond stamps miss a standard rate by up to this; 30 and 29.97 differ by
0.001."""


@dataclass(frozen=True)
class VideoInfo:
    """A video as it is shown: size in pixels after rotation, rate, length. `frames` is an estimate;
    `rotation_deg` is the turn to the right that the file asks for; a still picture has one frame.
    """

    width_px: int
    height_px: int
    fps: Fraction
    duration_s: float
    frames: int
    rotation_deg: int
    codec: str
    is_still: bool


@dataclass(frozen=True)
class AudioInfo:
    """A recording; `duration_s` as its container says (speech.py finds the exact one)."""

    duration_s: float
    sample_rate_hz: int
    channels: int
    codec: str


def probe_video(path: Path, limits: MediaLimits) -> VideoInfo:
    """Describe a video or a still picture.

    Raises:
        MediaError: it cannot be used; the message names the file, the stream, value and limit.
    """
    with open_media(path, "video", limits) as container:
        stream = video_stream(container, path)
        _check_size(path, stream.codec_context.width, stream.codec_context.height, limits)
        still = is_still(container, stream)
        rate = STILL_FPS if still else _rate(path, stream, limits)
        duration_s = 1 / float(rate) if still else _duration(container, stream, limits.max_video_s)
        if duration_s > limits.max_video_s:
            raise _too_long("video", path, duration_s, limits.max_video_s)
        _check_frames(path, stream.frames, limits)
        picture = _first_picture(container, stream, path)
        _check_size(path, picture.width, picture.height, limits)
        turn = -picture.rotation % 360
        size = (picture.width, picture.height)
        width, height = size[::-1] if turn in (90, 270) else size
        frames = 1 if still else max(1, round(duration_s * rate))
        codec = stream.codec_context.name
        return VideoInfo(width, height, rate, duration_s, frames, turn, codec, still)


def probe_audio(path: Path, limits: MediaLimits) -> AudioInfo:
    """Describe a recording (a video's sound track counts as one).

    Raises:
        MediaError: it cannot be used; the message names the file, the stream, value and limit.
    """
    with open_media(path, "audio", limits) as container:
        stream = audio_stream(container, path)
        duration_s = _duration(container, stream, limits.max_audio_s)
        if duration_s > limits.max_audio_s:
            raise _too_long("audio", path, duration_s, limits.max_audio_s)
        rate, channels = _first_sound(container, stream, path)
        return AudioInfo(duration_s, rate, channels, stream.codec_context.name)


def open_media(path: Path, role: str, limits: MediaLimits) -> InputContainer:
    """Open a local file and nothing else: no playlists, no other protocols, no external tracks.

    Raises:
        MediaError: not a regular file, empty, damaged, or of a kind that is not accepted.
    """
    if not path.is_file():
        raise MediaError(role, f"{role} {path.name!r}: there is no such file")
    if path.stat().st_size == 0:
        raise MediaError(role, f"{role} {path.name!r}: the file is empty (0 bytes)")
    try:
        container: InputContainer = av.open(
            str(path.absolute()),
            "r",
            format=_picture_format(path),
            options={"max_pixels": str(limits.max_pixels)},
            **_SAFELY,
        )
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(role, f"{role} {path.name!r}: {_why_closed(path, error)}") from None
    if len(container.streams) > MAX_STREAMS:
        container.close()
        raise MediaError(role, f"{role} {path.name!r}: more than {MAX_STREAMS} streams")
    return container


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first stream of moving pictures (cover art is none).

    Raises:
        MediaError: there is none.
    """
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic and stream.codec_context is not None:
            return stream
    raise MediaError(
        "video", f"video {path.name!r}: it has no video stream ({_listing(container)})"
    )


def audio_stream(container: InputContainer, path: Path) -> AudioStream:
    """The first sound track.

    Raises:
        MediaError: there is none.
    """
    for stream in container.streams.audio:
        if stream.codec_context is not None:
            return stream
    raise MediaError(
        "audio", f"audio {path.name!r}: it has no audio stream ({_listing(container)})"
    )


def is_still(container: InputContainer, stream: VideoStream) -> bool:
    """Whether this is a single picture."""
    return container.format.name.endswith("_pipe") or stream.frames == 1


def plain_rate(rate: Fraction) -> Fraction:
    """The rate without the noise of coarse time stamps: a standard one when it is within
    RATE_SNAP, else with a denominator of at most 1001.
    """
    for standard in STANDARD_RATES:
        if abs(rate / standard - 1) <= RATE_SNAP:
            return standard
    return rate if rate.denominator <= 1001 else rate.limit_denominator(1001)


def _rate(path: Path, stream: VideoStream, limits: MediaLimits) -> Fraction:
    found = stream.average_rate or stream.guessed_rate or stream.base_rate
    if not found or found <= 0:
        raise MediaError(
            "video", f"video {path.name!r}, {_naming(stream)}: its frame rate is 0 or unknown"
        )
    if found > limits.max_fps:
        raise MediaError(
            "video",
            f"video {path.name!r}, {_naming(stream)}: {float(found):.2f} frames per second, "
            f"at most {limits.max_fps:g} are allowed",
        )
    return STILL_FPS if found < MIN_FPS else plain_rate(Fraction(found))


def _duration(
    container: InputContainer, stream: VideoStream | AudioStream, limit_s: float
) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is not None:
        return container.duration / av.time_base
    return _scanned_duration(Path(container.name), stream, limit_s)


def _scanned_duration(path: Path, stream: VideoStream | AudioStream, limit_s: float) -> float:
    """Length of a file whose header does not say (a live recording, a bare stream): by its packets'
    stamps, else by their number. Ends early beyond the limit.
    """
    first: float | None = None
    last, packets = 0.0, 0
    with av.open(str(path), format=_picture_format(path), **_SAFELY) as container:
        for packet in container.demux(container.streams[stream.index]):
            packets += 1
            if packet.pts is None:
                continue
            at = float(packet.pts * packet.time_base)
            first = at if first is None else min(first, at)
            last = max(last, at + float((packet.duration or 0) * packet.time_base))
            if last - first > limit_s:
                break
    if first is None and isinstance(stream, VideoStream) and stream.average_rate:
        return packets / float(stream.average_rate)
    return last - (first or 0.0)


def _first_picture(container: InputContainer, stream: VideoStream, path: Path) -> av.VideoFrame:
    stream.codec_context.thread_count = 1
    for frame in _first_frames(container, stream):
        if isinstance(frame, av.VideoFrame):
            return frame
    raise MediaError(
        "video",
        f"video {path.name!r}, {_naming(stream)}: no picture could be decoded from its first "
        f"{FIRST_PACKETS} packets",
    )


def _first_sound(container: InputContainer, stream: AudioStream, path: Path) -> tuple[int, int]:
    for frame in _first_frames(container, stream):
        if isinstance(frame, av.AudioFrame) and frame.samples and frame.sample_rate:
            return frame.sample_rate, frame.layout.nb_channels
    raise MediaError(
        "audio", f"audio {path.name!r}, {_naming(stream)}: it holds no samples that can be decoded"
    )


def _first_frames(
    container: InputContainer, stream: VideoStream | AudioStream
) -> Iterable[av.VideoFrame | av.AudioFrame]:
    """What the first packets decode to; damaged ones are passed over."""
    try:
        for number, packet in enumerate(container.demux(stream)):
            if number >= FIRST_PACKETS:
                return
            try:
                frames = packet.decode()
            except av.FFmpegError:
                continue
            yield from (f for f in frames if isinstance(f, av.VideoFrame | av.AudioFrame))
    except av.FFmpegError:
        return


def _check_size(path: Path, width: int, height: int, limits: MediaLimits) -> None:
    if width == 0 or height == 0:
        raise MediaError(
            "video",
            f"video {path.name!r}: its picture size cannot be read; it is damaged, or has more "
            f"than {limits.max_pixels} pixels",
        )
    if min(width, height) < MIN_SIDE_PX:
        raise MediaError(
            "video",
            f"video {path.name!r}: its pictures are {width}x{height} pixels, at least "
            f"{MIN_SIDE_PX}x{MIN_SIDE_PX} are needed",
        )
    if width * height > limits.max_pixels:
        raise MediaError(
            "video",
            f"video {path.name!r}: its pictures are {width}x{height} = {width * height} pixels, "
            f"at most {limits.max_pixels} are allowed",
        )


def _check_frames(path: Path, frames: int, limits: MediaLimits) -> None:
    """A short clip with very many frames costs as much as a long one."""
    most = int(limits.max_video_s * limits.max_fps)
    if frames > most:
        raise MediaError(
            "video", f"video {path.name!r}: {frames} frames, at most {most} are allowed"
        )


def _too_long(role: str, path: Path, duration_s: float, limit_s: float) -> MediaError:
    return MediaError(
        role,
        f"{role} {path.name!r}: it is {duration_s:.1f} s long, at most {limit_s:g} s are allowed",
    )


def _picture_format(path: Path) -> str | None:
    """The format of a picture file, or None. By name alone libav takes pictures for a numbered
    series (image2), which reads other files.
    """
    with path.open("rb") as file:
        head = file.read(64)
    if b"acTL" in head:
        return None  # an animated PNG is a video
    return next((form for mark, form in _PICTURES.items() if head.startswith(mark)), None)


def _why_closed(path: Path, error: Exception) -> str:
    """The reason in words; libav only says "Invalid data" or "Invalid argument"."""
    with path.open("rb") as file:
        head = file.read(64)
    if isinstance(error, av.error.ArgumentError):
        return "its format is not accepted (playlists and descriptions of other files never are)"
    if head[4:8] == b"ftyp":
        return "it is truncated or damaged: an MP4/MOV without its index (the moov box)"
    return "it is not a video or sound file, or it is truncated or damaged"


def _naming(stream: VideoStream | AudioStream) -> str:
    return f"stream {stream.index} ({stream.type} {stream.codec_context.name})"


def _listing(container: InputContainer) -> str:
    parts = []
    for stream in container.streams:
        cover = " cover picture" if stream.disposition & Disposition.attached_pic else ""
        codec = getattr(stream.codec_context, "name", "unknown")
        parts.append(f"{stream.type} {codec}{cover}")
    return "streams: " + (", ".join(parts) or "none")
