"""Encoders: H.264 and AAC as jobs need them, and whether NVENC would work.

What it is not: a measure of speed. Results are encoded by libx264; NVENC is told, never needed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import av
import numpy as np

from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import Look

_SIDE_PX = 256  # NVENC takes nothing below about 160
_FRAMES = 8
_RATE_HZ = 48000


def check(look: Look) -> Iterator[Finding]:
    """Encode a few frames by each."""
    try:
        size = encode_video("libx264")
        encode_sound()
    except (av.FFmpegError, ValueError, OSError) as error:
        text = f"PyAV {av.__version__} cannot encode: {error}"
        yield found("encoder-broken", text, python=look.python)
        return
    said = f"libx264 and AAC work ({size} bytes for {_FRAMES} frames)"
    if look.facts.get("cuda_devices"):
        said += f"; {_nvenc()}"
    yield nice(said)


def _nvenc() -> str:
    try:
        encode_video("h264_nvenc")
    except (av.FFmpegError, ValueError, OSError) as error:
        return f"NVENC does not work here ({error}), and nothing needs it"
    return "NVENC works"


def encode_video(codec: str) -> int:
    """Encode grey frames into an MP4 in memory; its size in bytes.

    Raises:
        ValueError: PyAV has no such encoder.
        av.FFmpegError: it does not work.
    """
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=25)
        if not isinstance(stream, av.VideoStream):
            raise ValueError(f"{codec} encodes no video")
        stream.width = stream.height = _SIDE_PX
        stream.pix_fmt = "yuv420p"
        for number in range(_FRAMES):
            grey = np.full((_SIDE_PX, _SIDE_PX, 3), number * 8, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
        container.mux(stream.encode())
    return len(buffer.getvalue())


def encode_sound() -> None:
    """Encode a little silence as AAC."""
    with av.open(io.BytesIO(), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=_RATE_HZ)
        if not isinstance(stream, av.AudioStream):
            raise ValueError("aac encodes no sound")
        stream.layout = "mono"
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = _RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
