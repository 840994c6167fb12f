"""Makes a small picture of a finished video.

What it is not: a picture of uploads, or of anything that is not a result of ours.
"""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av

WIDTH_PX = 640


def make_thumbnail(video: Path, target: Path) -> Path:
    """Write the first frame of `video` as a JPEG of at most 640 px width to `target`, once.

    Raises:
        av.FFmpegError: the video cannot be read.
    """
    if target.is_file():
        return target
    part = target.with_name(f".{target.name}.{os.getpid()}")
    part.write_bytes(_jpeg(video))
    part.replace(target)
    return target


def _jpeg(video: Path) -> bytes:
    with av.open(str(video)) as container:
        frame = next(container.decode(video=0))
    width = min(WIDTH_PX, frame.width) // 2 * 2
    height = max(2, round(frame.height * width / frame.width / 2) * 2)
    small = frame.reformat(width, height, "yuvj420p")
    small.pts, small.time_base = 0, Fraction(1, 25)
    encoder = av.VideoCodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj420p"
    encoder.time_base = Fraction(1, 25)
    packets = [*encoder.encode(small), *encoder.encode(None)]
    return b"".join(bytes(packet) for packet in packets)
