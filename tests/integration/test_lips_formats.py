"""The embedded lips on real clips in other sizes, rates and shapes, and on stills: the result keeps
the source's, speaks, and is steady where nothing moves.
"""

from __future__ import annotations

import shutil
import wave
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest

from benchmarks import follow, formats
from tests.integration.test_dub_real import embedded
from tests.unit.trans_dh_service.fakes import FakeWatch
from trans_dh_service.pipeline import dub
from trans_dh_service.task import DubTask, DubTools, Encoding

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
CLIPS = SHARED / "clips"
SPEAKER = CLIPS / "spoken" / "lbax4n.mpg"
YARDSTICK = SHARED / "measure" / "lips.py"
VARIANTS = {variant.name: variant for variant in formats.VARIANTS}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SPEAKER.is_file() and YARDSTICK.is_file()),
        reason=f"no clips at {CLIPS} or no yardstick at {YARDSTICK}",
    ),
    pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="no ffmpeg to make the variants"),
]


@pytest.fixture(scope="module")
def yardstick() -> ModuleType:
    return follow.yardstick()


@pytest.fixture(scope="module")
def truth(yardstick: ModuleType) -> np.ndarray:
    """The speaker's own lips, 50 values per second."""
    return np.asarray(yardstick.resample(*yardstick.openings(str(SPEAKER)), to=50.0))


@pytest.fixture
def tools(tmp_path: Path) -> Iterator[DubTools]:
    with embedded(tmp_path, Encoding()) as made_of:
        yield made_of


def made(name: str, audio: Path, tools: DubTools, folder: Path) -> Path:
    """The variant's video, driven with a recording."""
    source = formats.changed(VARIANTS[name], CLIPS, folder, 800)
    task = DubTask(source, audio, folder / "work", folder / f"{name}-made.mp4")
    result = dub(task, tools, FakeWatch())
    assert result.frames_with_face == result.frames
    return task.output


@pytest.mark.parametrize(
    ("name", "size", "rate", "frames"),
    [
        ("b_240p", (240, 426), Fraction(25), 74),
        ("a_turned", (720, 1280), Fraction(25), 74),
        ("a_photo", (1080, 1920), Fraction(25), 74),
    ],
)
def test_the_lips_follow_the_sound_in_any_format(
    name: str,
    size: tuple[int, int],
    rate: Fraction,
    frames: int,
    tools: DubTools,
    tmp_path: Path,
    yardstick: ModuleType,
    truth: np.ndarray,
) -> None:
    path = made(name, SPEAKER, tools, tmp_path)
    assert formats.shape_of(path) == formats.Shape(size, rate, frames)
    series, per_s = yardstick.openings(str(path))
    said = yardstick.resample(series, per_s, to=50.0)
    count = min(len(said), len(truth))
    assert np.corrcoef(said[:count], truth[:count])[0, 1] >= 0.5


@pytest.mark.parametrize(
    ("name", "size", "rate", "frames"),
    [
        ("a_60fps", (720, 1280), Fraction(60), 60),
        ("a_29.97fps", (720, 1280), Fraction(30000, 1001), 30),
        ("a_landscape", (1080, 608), Fraction(25), 25),
    ],
)
def test_rates_and_shapes_stay(
    name: str,
    size: tuple[int, int],
    rate: Fraction,
    frames: int,
    tools: DubTools,
    tmp_path: Path,
) -> None:
    path = made(name, quiet(tmp_path, 1.0), tools, tmp_path)
    assert formats.shape_of(path) == formats.Shape(size, rate, frames)


def test_the_mouth_of_a_still_noisy_head_does_not_shake(
    tools: DubTools, tmp_path: Path, yardstick: ModuleType
) -> None:
    path = made("a_noisy_still", quiet(tmp_path, 1.2), tools, tmp_path)
    assert formats.shake(yardstick.LipGauge(), path) <= 0.005


def test_the_measure_of_shaking_sees_a_picture_that_shakes(
    tmp_path: Path, yardstick: ModuleType
) -> None:
    still = formats.changed(VARIANTS["a_photo"], CLIPS, tmp_path)
    moved = tmp_path / "moved.mp4"
    with av.open(str(still)) as photo, av.open(str(moved), "w") as out:
        picture = next(photo.decode(video=0)).to_ndarray(format="rgb24")
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 1080, 1920, "yuv420p"
        for index in range(10):
            shifted = np.roll(picture, 6 * (index % 2), axis=1)
            frame = av.VideoFrame.from_ndarray(shifted, format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert formats.shake(yardstick.LipGauge(), moved) > 0.005


def quiet(folder: Path, seconds: float) -> Path:
    """Digital silence as a WAV of 16 kHz."""
    path = folder / "quiet.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(bytes(2 * round(16000 * seconds)))
    return path
