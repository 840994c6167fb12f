"""Lips in whole dubs: silent stretches spare the network, borders are smooth, a resume is equal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from models.lipsync.base import LipItem, LipPatch
from tests.unit.trans_dh_service.fakes import FakeLane, FakeLips, FakeWatch, fake_tools
from tests.unit.trans_dh_service.media import Clip, luma_of, make_pauses, make_video
from trans_dh_service.pipeline import dub
from trans_dh_service.task import DubResult, DubTask, DubTools, RestTools, StoppedError

pytestmark = pytest.mark.usefixtures("steady")

SPEAKING, AT_REST = 200, 80
FRAMES = 100
"""Four seconds: one of speech, two of silence, one of speech."""


class Network(FakeLips):
    """Paints one brightness; remembers which pictures it saw."""

    name = "network"
    infers = True

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[int] = []
        self.folders: list[Path] = []

    def attach(self, source: Any, folder: Path) -> Any:
        self.folders.append(folder)
        return {"learned": source, "folder": folder}

    def render(self, items: Sequence[LipItem]) -> list[LipPatch]:
        self.frames += [item.frame for item in items]
        assert all(item.source["learned"] is not None for item in items)
        return [painted(self._one(item), SPEAKING) for item in items]


class Calm(FakeLips):
    """Paints another brightness in a crop of another size."""

    name = "calm"

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[int] = []

    def render(self, items: Sequence[LipItem]) -> list[LipPatch]:
        self.frames += [item.frame for item in items]
        assert all(item.feature.tolist() == [0, 0] for item in items)
        return [
            painted(self._one(replace(item, feature=item.feature[:1])), AT_REST) for item in items
        ]


def painted(patch: LipPatch, value: int) -> LipPatch:
    return replace(patch, image=np.full_like(patch.image, value))


@dataclass
class Bench:
    folder: Path
    network: Network = field(default_factory=Network)
    calm: Calm = field(default_factory=Calm)

    def __post_init__(self) -> None:
        self.lanes = [FakeLane(self.network), FakeLane(self.calm)]
        self.video = make_video(self.folder / "in.mp4", Clip(frames=60))
        self.audio = make_pauses(self.folder / "in.wav", (1.0, True), (2.0, False), (1.0, True))

    def tools(self, rest: bool = True) -> DubTools:
        tools = fake_tools(self.lanes[0], self.folder / "cache")
        calm = RestTools(self.calm, self.lanes[1].submit, np.zeros(2, np.float32))
        return replace(tools, rest=calm if rest else None)

    def dub(self, name: str = "a", watch: FakeWatch | None = None, **tools: bool) -> DubResult:
        output = self.folder / f"{name}.mp4"
        task = DubTask(self.video, self.audio, self.folder / name, output, segment_s=0.5)
        return dub(task, self.tools(**tools), watch or FakeWatch())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    for lane in made.lanes:
        lane.close()


def has_made(segments: int, watch: FakeWatch) -> bool:
    return len(watch.segments) >= segments


def mouths(path: Path) -> np.ndarray:
    """Brightness of the mouth in every frame."""
    with av.open(str(path)) as container:
        frames = [luma_of(frame) for frame in container.decode(video=0)]
    return np.array([frame[76:84, 76:84].mean() for frame in frames])


def test_a_silent_stretch_reaches_the_resting_backend_and_not_the_network(bench: Bench) -> None:
    result = bench.dub()
    assert result.frames == result.frames_with_face == FRAMES
    assert 24 <= result.frames_rested <= 36
    assert len(bench.network.frames) == FRAMES - result.frames_rested
    assert len(bench.calm.frames) == result.frames_rested + 8
    seen = mouths(result.path)
    assert seen[:30] == pytest.approx(SPEAKING, abs=8)
    assert seen[40:60] == pytest.approx(AT_REST, abs=8)
    assert seen[72:] == pytest.approx(SPEAKING, abs=8)


def test_the_mouth_fades_between_speech_and_rest(bench: Bench) -> None:
    steps = np.abs(np.diff(mouths(bench.dub().path)))
    assert steps.max() < (SPEAKING - AT_REST) / 5 + 10
    assert (steps > 10).sum() == 10


def test_each_item_names_its_picture_in_the_source(bench: Bench) -> None:
    bench.dub(rest=False)
    back = [58 - index for index in range(40)]
    assert bench.network.frames == [*range(60), *back]


def test_what_was_learned_is_given_a_folder_of_the_videos_cache(bench: Bench) -> None:
    bench.dub("a")
    bench.dub("b")
    first, second = bench.network.folders
    assert first == second
    assert first.name == "frames-network"
    assert first.is_relative_to(bench.folder / "cache")


def test_without_a_resting_backend_the_network_paints_all(bench: Bench) -> None:
    result = bench.dub(rest=False)
    assert result.frames_rested == 0
    assert len(bench.network.frames) == FRAMES
    assert mouths(result.path)[50] == pytest.approx(SPEAKING, abs=8)


def test_a_cheap_backend_paints_its_own_rest(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Network, "infers", False)
    assert bench.dub().frames_rested == 0
    assert bench.calm.frames == []
    assert len(bench.network.frames) == FRAMES


def test_a_recording_without_a_pause_needs_no_resting_backend(bench: Bench) -> None:
    make_pauses(bench.audio, (2.0, True))
    assert bench.dub().frames_rested == 0
    assert bench.calm.learned == 0


def test_rest_is_equal_after_a_resume_at_any_segment(bench: Bench) -> None:
    whole = bench.dub("whole")
    for stop_at in (2, 4):
        name = f"parts {stop_at}"
        with pytest.raises(StoppedError):
            bench.dub(name, FakeWatch(stop=partial(has_made, stop_at)))
        resumed = bench.dub(name)
        assert 0 < resumed.segments_made < whole.segments_made
        assert resumed.frames_rested == whole.frames_rested
        assert np.abs(mouths(resumed.path) - mouths(whole.path)).max() < 6


def test_switching_rest_off_makes_other_segments(bench: Bench) -> None:
    bench.dub()
    assert bench.dub(rest=False).segments_made == 8
    assert bench.dub(rest=False).segments_made == 0


def test_segments_and_file_say_that_the_lips_are_synthesised(bench: Bench) -> None:
    result = bench.dub()
    segment = (bench.folder / "a" / "segment_00003.ts").read_bytes()
    assert b"made with Mouthpiece, lips synthesised" in segment
    with av.open(str(result.path)) as made:
        assert made.metadata["description"].endswith("by the model network")
