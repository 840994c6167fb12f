"""A sheet of faces to look at: evenly spaced frames of a video, cut to the face, in one picture.

    python -m scripts.sheet VIDEO SHEET.png [--frames 24] [--side 240]

What it is not: a measurement; and sheets of real people do not belong into the repository.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from face_detect_utils.base import Face
from face_detect_utils.haar import load

COLUMNS = 6
REACH = 0.75
"""Half the side of a tile in widths of the face."""

Picture = NDArray[np.uint8]


def tiles(video: Path, count: int, side_px: int) -> list[Picture]:
    """At most `count` faces of a video, each [side, side, 3] BGR; frames without one are left out.

    Raises:
        ValueError: there is no video in the file.
    """
    with av.open(str(video)) as media:
        if not media.streams.video:
            raise ValueError(f"{video.name} has no video")
        total = sum(1 for _ in media.demux(video=0)) or 1
    wanted = set(np.linspace(0, max(0, total - 2), count).astype(int).tolist())
    detector = load("cpu", Path())
    made: list[Picture] = []
    with av.open(str(video)) as media:
        for index, frame in enumerate(media.decode(video=0)):
            if index not in wanted:
                continue
            picture = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
            faces = detector.detect([picture])[0]
            if faces:
                made.append(tile(picture, max(faces, key=lambda face: face.area_px), side_px))
    return made


def tile(picture: Picture, face: Face, side_px: int) -> Picture:
    """The square around a face, [side, side, 3]; what lies outside the picture is left out."""
    x, y = face.x_px + face.width_px / 2, face.y_px + face.height_px / 2
    reach = REACH * face.width_px
    rows = slice(max(0, round(y - reach)), max(1, round(y + reach)))
    columns = slice(max(0, round(x - reach)), max(1, round(x + reach)))
    return np.asarray(cv2.resize(picture[rows, columns], (side_px, side_px)), np.uint8)


def sheet(made: list[Picture]) -> Picture:
    """Tiles of one size side by side, in rows of at most six.

    Raises:
        ValueError: there are none.
    """
    if not made:
        raise ValueError("no face in any of the frames")
    blank = np.zeros_like(made[0])
    whole = made + [blank] * (-len(made) % COLUMNS)
    rows = [np.hstack(whole[at : at + COLUMNS]) for at in range(0, len(whole), COLUMNS)]
    return np.vstack(rows)


def main() -> int:
    """Make one sheet."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("video", type=Path)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--frames", type=int, default=24)
    parser.add_argument("--side", type=int, default=240, help="pixels per tile")
    args = parser.parse_args()
    try:
        made = sheet(tiles(args.video, args.frames, args.side))
    except (OSError, ValueError) as error:
        print(f"{args.video}: {error}", file=sys.stderr)
        return 1
    if not cv2.imwrite(str(args.sheet), made):
        print(f"{args.sheet} could not be written", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
