"""Small jobs on media files for the scripts that check a server: lengths, a longer recording.

What it is not: the pipeline's probe (trans_dh_service/probe.py), which guards the server.
"""

from __future__ import annotations

import wave
from pathlib import Path

import av

RATE_HZ = 16000


def seconds_of(path: Path) -> tuple[float, float]:
    """Seconds of video and of sound in a file, 0 where there is none, by decoding it."""
    with av.open(str(path)) as container:
        video_s = _seconds(container, "video")
    with av.open(str(path)) as container:
        return video_s, _seconds(container, "audio")


def _seconds(container: av.container.InputContainer, kind: str) -> float:
    stream = next((stream for stream in container.streams if stream.type == kind), None)
    if stream is None:
        return 0.0
    if isinstance(stream, av.VideoStream):
        return sum(1 for _ in container.decode(stream)) / float(stream.average_rate or 1)
    seconds = 0.0
    for frame in container.decode(stream):
        if isinstance(frame, av.AudioFrame):
            seconds += frame.samples / frame.sample_rate
    return seconds


def long_speech(source: Path, target: Path, times: int) -> None:
    """The recording so many times over, as a WAV of 16 kHz mono."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE_HZ)
    with av.open(str(source)) as container:
        frames = [made for frame in container.decode(audio=0) for made in resampler.resample(frame)]
        frames += resampler.resample(None)
    sound = b"".join(frame.to_ndarray().tobytes() for frame in frames)
    with wave.open(str(target), "wb") as sink:
        sink.setnchannels(1)
        sink.setsampwidth(2)
        sink.setframerate(RATE_HZ)
        sink.writeframes(sound * times)
