"""Make the samples that ship or are shown: a spoken one, and a video of a real face.

    python scripts/make_samples.py video OUT.mp4     six seconds, 720x720, 25 fps, no sound
    python scripts/make_samples.py speech OUT.flac   ten seconds with a silence in the middle

What it is: no network, no foreign media. The face is the photograph of the astronaut Eileen
Collins that scikit-image carries (NASA, public domain), slowly panned, turned and zoomed; the
speech is our own text read by flite. What it is not: needed by the server;
scripts/assets/speech.flac was made by `speech` once and is committed, so flite is not needed
either, except to make it anew.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import skimage.data
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from scripts.viseme_training.voices import (  # noqa: E402 - needs the path above
    RATE_HZ,
    SpeakerError,
    flite_speech,
)

SIZE_PX = 720
FPS = 25
SECONDS = 6
# Where the frame looks in the photograph, and how much of it (pixels) it shows.
FACE_X, FACE_Y = 226.0, 142.0
SHOWN_PX = 250.0

VOICE, STRETCH, PITCH_HZ = "slt", 1.05, 172.0
BEFORE = "Mama, Papa, look! My mouth moves with every word I say."
AFTER = "We may pause for a moment, and then we go on. Is that not beautiful?"
SILENCE_S = 1.4
EDGE_S = 0.3
PEAK = 0.7


def view(at: float) -> NDArray[np.float64]:
    """The 2x3 matrix, photograph to frame, at the part `at` (0..1) of the video.

    All movements are whole waves, so the last frame runs on into the first one.
    """
    turn = 2 * math.pi * at
    scale = SIZE_PX / (SHOWN_PX * (1 + 0.06 * math.cos(turn)))
    angle = math.radians(1.5) * math.sin(2 * turn)
    x = FACE_X + 9 * math.sin(turn)
    y = FACE_Y + 5 * math.cos(turn)
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    middle = SIZE_PX / 2
    return np.array(
        [[cos, -sin, middle - cos * x + sin * y], [sin, cos, middle - sin * x - cos * y]]
    )


def frames(count: int) -> Iterator[NDArray[np.uint8]]:
    """The video's frames [720, 720, 3] RGB."""
    photograph = skimage.data.astronaut()  # type: ignore[no-untyped-call]
    for index in range(count):
        yield np.asarray(
            cv2.warpAffine(
                photograph,
                view(index / count),
                (SIZE_PX, SIZE_PX),
                flags=cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            ),
            np.uint8,
        )


def make_video(path: Path) -> None:
    """Write the face to an H.264 MP4."""
    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=FPS, options={"crf": "18", "preset": "fast"})
        stream.width, stream.height, stream.pix_fmt = SIZE_PX, SIZE_PX, "yuv420p"
        for picture in frames(FPS * SECONDS):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(stream.encode(None))


def spoken() -> NDArray[np.float32]:
    """Both sentences with the silence between them, float32 mono at 16 kHz."""
    parts = [flite_speech(text, VOICE, STRETCH, PITCH_HZ).samples for text in (BEFORE, AFTER)]
    edge, pause = (np.zeros(round(s * RATE_HZ), np.float32) for s in (EDGE_S, SILENCE_S))
    samples = np.concatenate([edge, parts[0], pause, parts[1], edge])
    return np.asarray(samples * (PEAK / np.abs(samples).max()), np.float32)


def make_speech(path: Path) -> None:
    """Write the speech to a FLAC file."""
    samples = np.round(spoken() * 32767).astype(np.int16)
    with av.open(str(path), "w", format="flac") as out:
        stream = out.add_stream("flac", rate=RATE_HZ, layout="mono", format="s16")
        frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        frame.sample_rate = RATE_HZ
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def main() -> int:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description="Make a sample video or a spoken sample.")
    parser.add_argument("kind", choices=["video", "speech"])
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        {"video": make_video, "speech": make_speech}[args.kind](args.out)
    except SpeakerError as error:
        print(f"make_samples: {error}; or use scripts/assets/speech.flac as it is", file=sys.stderr)
        return 1
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
