"""Small videos and recordings for tests, whose frames say their own number.

What it is not: tests. A frame's number stands in its top rows as eight bright or dark blocks, which
survive lossy codecs, scaling and a change of format.
"""

from __future__ import annotations

import wave
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

BITS = 8
BAND_ROWS = 24
BRIGHT, DARK = 200, 40
SAMPLE_RATE_HZ = 48000


@dataclass(frozen=True)
class Clip:
    """How a test video is written. `stamps` are presentation times in units of 1 / 1000 s;
    `colours` is the tag for matrix, primaries and curve (2: none).
    """

    frames: int = 30
    fps: Fraction = Fraction(25)
    width: int = 160
    height: int = 120
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    gop: int = 12
    stamps: tuple[int, ...] | None = None
    rotation_deg: int = 0
    mirrored: bool = False
    pixel_aspect: Fraction = Fraction(1)
    colours: int = 2


def frame_image(number: int, width: int = 160, height: int = 120) -> NDArray[np.uint8]:
    """An RGB picture with its number in the top rows, a moving texture below."""
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = (rows * 2 + number) % 200
    image[..., 1] = (columns + 3 * number) % 180
    image[..., 2] = 90
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        image[:BAND_ROWS, left:right] = BRIGHT if number >> bit & 1 else DARK
    return image


def number_of(luma: NDArray[Any]) -> int:
    """The number that a picture's brightness [h, w] shows."""
    width = luma.shape[1]
    number = 0
    for bit in range(BITS):
        left, right = bit * width // BITS, (bit + 1) * width // BITS
        block = luma[4 : BAND_ROWS - 4, left + 4 : right - 4]
        number |= int(block.mean() > (BRIGHT + DARK) / 2) << bit
    return number


def luma_of(frame: av.VideoFrame) -> NDArray[Any]:
    """Brightness of any frame."""
    return frame.to_ndarray(format="gray")


def numbers_in(path: Path) -> list[int]:
    """The numbers of all frames of a file."""
    with av.open(str(path)) as container:
        return [number_of(luma_of(frame)) for frame in container.decode(video=0)]


def make_video(path: Path, clip: Clip = Clip(), sound_s: float = 0.0) -> Path:
    """Write a video; with `sound_s` it also has an AAC or Opus track."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(clip.codec, rate=clip.fps, options=_options(clip.codec))
        stream.width, stream.height, stream.pix_fmt = clip.width, clip.height, clip.pix_fmt
        stream.gop_size = clip.gop
        context = stream.codec_context
        context.sample_aspect_ratio = clip.pixel_aspect
        context.colorspace = context.color_primaries = context.color_trc = clip.colours
        if clip.stamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if clip.rotation_deg or clip.mirrored:
            stream.set_display_rotation(clip.rotation_deg, hflip=clip.mirrored)
        if sound_s:
            codec = "libopus" if path.suffix == ".webm" else "aac"
            audio: Any = container.add_stream(codec, rate=SAMPLE_RATE_HZ)
            audio.layout = "mono"
        for number in range(clip.frames):
            image = frame_image(number, clip.width, clip.height)
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame = frame.reformat(format=clip.pix_fmt)
            if clip.stamps is not None:
                frame.pts, frame.time_base = clip.stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound_s:
            for block in _blocks(tone(sound_s), "mono", SAMPLE_RATE_HZ):
                container.mux(audio.encode(block))
            container.mux(audio.encode(None))
    return path


def make_still(path: Path, codec: str, width: int = 160, height: int = 120) -> Path:
    """A picture file: png, mjpeg (jpg), libwebp, bmp."""
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height = width, height
    context.pix_fmt = {"mjpeg": "yuvj420p", "libwebp": "yuv420p", "bmp": "bgr24"}.get(
        codec, "rgb24"
    )
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_ndarray(frame_image(5, width, height), format="rgb24")
    frame = frame.reformat(format=context.pix_fmt)
    frame.pts = 0
    packets = context.encode(frame) + context.encode(None)
    path.write_bytes(b"".join(bytes(packet) for packet in packets))
    return path


def tone(seconds: float, rate_hz: int = SAMPLE_RATE_HZ) -> NDArray[np.float32]:
    """A tone that is loud in the first quarter of every half second and silent else."""
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    loud = (at % 0.5) < 0.125
    return np.asarray(0.5 * np.sin(2 * np.pi * 440 * at) * loud, np.float32)


def make_sound(
    path: Path, seconds: float, codec: str = "pcm_s16le", rate_hz: int = 48000, layout: str = "mono"
) -> Path:
    """A recording of `tone`; the container follows from the file name."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=rate_hz)
        stream.layout = layout
        for block in _blocks(tone(seconds, rate_hz), layout, rate_hz):
            container.mux(stream.encode(block))
        container.mux(stream.encode(None))
    return path


def make_pauses(path: Path, *parts: tuple[float, bool], rate_hz: int = 16000) -> Path:
    """A WAV of parts that are a tone (True) or silent, each so many seconds long."""
    at = [np.arange(round(seconds * rate_hz)) / rate_hz for seconds, _ in parts]
    loud = [loud for _, loud in parts]
    spoken = [0.4 * np.sin(2 * np.pi * 220 * t) * on for t, on in zip(at, loud, strict=True)]
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate_hz, 0, "NONE", ""))
        file.writeframes((np.concatenate(spoken) * 32767).astype("<i2").tobytes())
    return path


def heard_in(path: Path) -> NDArray[np.float32]:
    """A file's sound as mono samples at SAMPLE_RATE_HZ, from its time 0 on."""
    resampler = av.AudioResampler("fltp", "mono", SAMPLE_RATE_HZ)
    parts: list[NDArray[Any]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            parts += [part.to_ndarray()[0] for part in resampler.resample(frame)]
        parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(parts).astype(np.float32)


def _blocks(samples: NDArray[np.float32], layout: str, rate_hz: int) -> Iterable[av.AudioFrame]:
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    for first in range(0, len(samples), 960):
        part = np.repeat(samples[None, first : first + 960], channels, axis=0)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), format="fltp", layout=layout)
        frame.sample_rate, frame.pts = rate_hz, first
        frame.time_base = Fraction(1, rate_hz)
        yield frame


def _options(codec: str) -> dict[str, str]:
    return {
        "libx264": {"preset": "veryfast", "crf": "18"},
        "libx265": {"preset": "ultrafast", "x265-params": "log-level=none"},
        "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "b": "400k"},
    }.get(codec, {"b": "2M"})
