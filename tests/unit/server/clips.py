"""Small media files for tests of the server, made by PyAV. Not real faces: nothing here renders."""

from __future__ import annotations

import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def make_wav(path: Path, seconds: float = 1.0, rate_hz: int = 16000) -> Path:
    """A tone."""
    times = np.arange(round(seconds * rate_hz)) / rate_hz
    samples = (np.sin(times * 2 * np.pi * 220) * 8000).astype("<i2")
    with wave.open(str(path), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes(samples.tobytes())
    return path


def make_video(path: Path, seconds: float = 1.0, *, sound: bool = False) -> Path:
    """A grey H.264 video of 64x48 pixels at 25 frames a second, on request with AAC sound."""
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = out.add_stream("aac", rate=16000, layout="mono") if sound else None
        for index in range(round(seconds * 25)):
            picture = np.full((48, 64, 3), index % 255, np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
        if audio is not None:
            frame = av.AudioFrame.from_ndarray(
                np.zeros((1, round(seconds * 16000)), np.float32), format="fltp", layout="mono"
            )
            frame.sample_rate, frame.time_base, frame.pts = 16000, Fraction(1, 16000), 0
            out.mux(audio.encode(frame))
            out.mux(audio.encode(None))
    return path
