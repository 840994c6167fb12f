"""Whether the embedded lips work on every kind of picture: sizes, rates, shapes, stills.

What it is not: the making of the videos (a server does it over HTTP) or a judge of beauty: look at
the made files (`--keep`, scripts/sheet.py). A part of benchmarks/lips.py; needs ffmpeg.
"""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

WINDOW = (0.28, 0.16)
"""Half the width and half the height of the part around the mouth whose shift is measured, in
widths of the detector's box: painted throughout."""


@dataclass(frozen=True)
class Variant:
    """How a clip is changed: which, ffmpeg's filter, further options, the file's ending."""

    name: str
    clip: str
    filter: str = ""
    options: tuple[str, ...] = ()
    ending: str = ".mp4"

    @property
    def still(self) -> bool:
        """Whether nothing moves in it."""
        return "loop" in self.filter or self.ending == ".jpg"


HELD = "loop=100:1,trim=end_frame=100,setpts=N/25/TB"
NOISE = "noise=alls=7:allf=t"
VARIANTS = (
    Variant("a_1080x1920", "person_a"),
    Variant("b_1080x1920", "person_b"),
    Variant("a_240p", "person_a", "scale=240:-2"),
    Variant("b_240p", "person_b", "scale=240:-2"),
    Variant("a_60fps", "person_a", "scale=720:-2,framerate=60"),
    Variant("a_29.97fps", "person_a", "scale=720:-2,framerate=30000/1001"),
    Variant("a_landscape", "person_a", "crop=1080:608:0:MIDDLE"),
    Variant("b_padded", "person_b", "scale=-2:720,pad=1280:720:(ow-iw)/2:0"),
    Variant("a_turned", "person_a", "scale=720:-2,transpose=2"),
    Variant("a_photo", "person_a", "", ("-frames:v", "1", "-q:v", "3"), ".jpg"),
    Variant("b_still", "person_b", HELD),
    Variant("a_noisy_still", "person_a", f"scale=720:-2,{HELD},{NOISE}"),
)


def changed(variant: Variant, clips: Path, folder: Path, face_y_px: float = 0) -> Path:
    """The clip as the variant wants it; an untouched one as it is. At most 4 s, without sound.

    `face_y_px` is where a landscape is cut out around.
    """
    source = clips / f"{variant.clip}.mp4"
    if not variant.filter and not variant.options:
        return source
    made = folder / f"source-{variant.name}{variant.ending}"
    command = ["ffmpeg", "-v", "error", "-y", "-t", "4", "-i", str(source), "-an"]
    if variant.filter:
        command += ["-vf", variant.filter.replace("MIDDLE", str(max(0, int(face_y_px - 304))))]
    if variant.ending == ".mp4":
        command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "16", "-pix_fmt", "yuv420p"]
    subprocess.run([*command, *variant.options, str(made)], check=True)
    if "transpose" in variant.filter:
        _tag_turned(made)
    return made


def _tag_turned(stored: Path) -> None:
    """Say in an MP4 of one track that its pictures are to be turned right by a quarter: the matrix
    of its track header of version 0 (ISO/IEC 14496-12, 8.3.2), 40 bytes after its name.
    """
    data = bytearray(stored.read_bytes())
    struct.pack_into(">4i", data, data.index(b"tkhd") + 44, 0, 1 << 16, 0, -(1 << 16))
    stored.write_bytes(data)


@dataclass(frozen=True)
class Shape:
    """What a file is: shown size, rate, number of pictures."""

    size: tuple[int, int]
    rate: Fraction
    frames: int


def shape_of(path: Path) -> Shape:
    """Of a video as ffprobe would show it, before turning it upright."""
    with av.open(str(path)) as media:
        stream = media.streams.video[0]
        count = sum(1 for _ in media.decode(stream))
        return Shape((stream.width, stream.height), stream.average_rate or Fraction(0), count)


def shake(gauge: Any, path: Path) -> float:
    """How much the mouth moves in a video in which nothing should, in widths of the face: the
    larger of the standard deviations across and down of its picture's shift against the first.
    """
    face = gauge._largest(first_picture(path))
    if face is None:
        raise ValueError(f"{path.name}: no face in the first picture")
    width = float(face[2])
    x, y = (float(v) for v in (face[10:12] + face[12:14]) / 2)
    half_x, half_y = (round(share * width) for share in WINDOW)
    rows = slice(max(0, round(y) - half_y), round(y) + half_y)
    columns = slice(max(0, round(x) - half_x), round(x) + half_x)
    parts = [picture[rows, columns].astype(np.float32) for picture in _greys(path)]
    shifts = np.array([_shift(parts[0], part) for part in parts])
    return float(shifts.std(axis=0).max() / width)


def _shift(one: NDArray[np.float32], other: NDArray[np.float32]) -> tuple[float, float]:
    """How far the other picture lies to the right of and below the one, in pixels (Evangelidis and
    Psarakis, "Parametric image alignment using enhanced correlation coefficient", PAMI 2008).
    """
    until = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 60, 1e-5)
    move = np.eye(2, 3, dtype=np.float32)
    found: Any = cv2.findTransformECC(
        one, other, move, cv2.MOTION_TRANSLATION, until, np.full(one.shape, 255, np.uint8), 5
    )[1]
    return float(found[0, 2]), float(found[1, 2])


def _greys(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as media:
        return [np.asarray(f.to_ndarray(format="gray"), np.uint8) for f in media.decode(video=0)]


def first_picture(path: Path) -> NDArray[np.uint8]:
    """The first picture of a file, BGR."""
    with av.open(str(path)) as media:
        return np.asarray(next(media.decode(video=0)).to_ndarray(format="bgr24"), np.uint8)
