"""Turn an avatar directory that MuseTalk made into a video, and keep what it knows for our jobs.

    python -m scripts.import_avatar DIR --out video.mp4 [--fps 25] [--data-dir data]

The video is the way forward of DIR's pictures (MuseTalk keeps them forward and backward). The
rectangles, latents and masks go into the cache of DATA_DIR under the video's content hash: a job on
that very file, with the backend of the avatar's version, encodes nothing. What it is not: needed;
without it, or when the cache has been swept (KEEP_RESULTS_H), a job makes its own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync.muse.avatar import Avatar, AvatarError, read_avatar
from models.lipsync.muse.imported import keep
from server.jobs.files import JobFiles
from server.settings import load_settings
from trans_dh_service.cache import content_hash, open_folder

BACKENDS = {"v1": "musetalk", "v15": "musetalk-v1.5"}
CRF = 10
"""Nearly lossless: the video stands in for the pictures."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Import one directory; 0 when it was done, 2 with a line on stderr when it cannot be."""
    given = _parser().parse_args(arguments)
    try:
        avatar = read_avatar(given.directory)
        write_video(avatar, given.out, given.fps)
        place = remember(avatar, given.out, given.data_dir)
    except (AvatarError, OSError) as error:
        print(f"cannot import {given.directory}: {error}", file=sys.stderr)
        return 2
    faces = sum(face is not None for face in avatar.faces)
    print(f"{given.out}: {len(avatar.frames)} frames, {faces} with a face")
    print(f"kept for {BACKENDS[avatar.version]} in {place}")
    return 0


def write_video(avatar: Avatar, out: Path, fps: Fraction) -> None:
    """The pictures as H.264, one frame each.

    Raises:
        AvatarError: a picture cannot be read or has another size than the first.
    """
    pictures = _pictures(avatar)
    first = next(pictures)
    part = out.with_name(f"{out.name}.part")
    try:
        with av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=fps, options={"crf": str(CRF)})
            stream.height, stream.width = first.shape[:2]
            stream.pix_fmt = "yuv420p"
            for picture in (first, *pictures):
                if picture.shape != first.shape:
                    raise AvatarError(f"pictures of {picture.shape} and {first.shape} pixels")
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
            container.mux(stream.encode(None))
        part.replace(out)
    finally:
        part.unlink(missing_ok=True)


def remember(avatar: Avatar, video: Path, data_dir: Path) -> Path:
    """Keep the avatar in the cache under the video's content hash; where it lies."""
    folder = open_folder(JobFiles(data_dir).cache, content_hash(video))
    return keep(avatar, folder, BACKENDS[avatar.version])


def _pictures(avatar: Avatar) -> Iterator[NDArray[np.uint8]]:
    """The way forward, of even sides (H.264's colours are stored for two by two pixels)."""
    for path in avatar.frames:
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            raise AvatarError(f"{path} is no picture")
        below, right = picture.shape[0] % 2, picture.shape[1] % 2
        yield np.asarray(
            cv2.copyMakeBorder(picture, 0, below, 0, right, cv2.BORDER_REPLICATE), np.uint8
        )


def _rate(text: str) -> Fraction:
    rate = Fraction(text)
    if not 1 <= rate <= 120:
        raise ValueError(text)
    return rate


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("directory", type=Path, help="avatar directory (with full_imgs/)")
    parser.add_argument("--out", type=Path, required=True, help="the video to write (.mp4)")
    parser.add_argument("--fps", type=_rate, default=Fraction(25), help="1 to 120; default 25")
    parser.add_argument(
        "--data-dir", type=Path, default=load_settings().data_dir, help="default: DATA_DIR"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
