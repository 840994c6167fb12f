"""Inputs for tests on real servers: a small cut of a real clip where the shared folder has one,
else of the sample face.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import av

from scripts.make_samples import make_video
from tests.unit.server.clips import make_wav

REAL = Path(__file__).resolve().parents[3] / "shared" / "clips" / "person_b.mp4"
WIDTH_PX = 320


@cache
def small_video(seconds: float = 2.0) -> Path:
    """A video of 320 pixels width; made once per run."""
    folder = Path(mkdtemp(prefix="clips-"))
    original = REAL
    if not REAL.is_file():
        original = folder / "sample.mp4"
        make_video(original)
    path = folder / "person.mp4"
    with av.open(str(original)) as source, av.open(str(path), "w") as out:
        stream = source.streams.video[0]
        assert stream.average_rate is not None
        height = round(stream.height * WIDTH_PX / stream.width / 2) * 2
        video = out.add_stream("libx264", rate=stream.average_rate)
        video.width, video.height, video.pix_fmt = WIDTH_PX, height, "yuv420p"
        for index, frame in enumerate(source.decode(stream)):
            if index >= seconds * stream.average_rate:
                break
            out.mux(video.encode(frame.reformat(WIDTH_PX, height, "yuv420p")))
        out.mux(video.encode(None))
    return path


@cache
def tone(seconds: float) -> Path:
    """A plain 16 kHz mono WAV of this length, as speech synthesisers write; made once per run."""
    return make_wav(Path(mkdtemp(prefix="clips-")) / "tone.wav", seconds)
