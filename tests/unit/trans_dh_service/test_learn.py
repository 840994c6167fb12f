"""Learning a source: evenly spaced samples of the first seconds with a face, and their cache."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from models.lipsync.base import FaceSample, Pose
from tests.unit.trans_dh_service.fakes import FakeDetector, FakeLips, SteadyTracker
from tests.unit.trans_dh_service.media import Clip, make_video
from trans_dh_service.cache import save_arrays
from trans_dh_service.compose import colours_for
from trans_dh_service.faces import FaceBook
from trans_dh_service.learn import MOST_SAMPLES, Sampler, learned
from trans_dh_service.probe import probe_video
from trans_dh_service.source import Source
from trans_dh_service.task import MediaLimits, StoppedError


@pytest.fixture(autouse=True)
def _steady(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trans_dh_service.faces.FaceTracker", SteadyTracker)


COLOURS = colours_for(1, 1, 120)


def a_source(tmp_path: Path, frames: int = 130) -> Source:
    path = make_video(tmp_path / "a.mp4", Clip(frames=frames))
    return Source(path, probe_video(path, MediaLimits()), MediaLimits())


def a_book(source: Source, tmp_path: Path, seen: bool = True) -> FaceBook:
    return FaceBook(FakeDetector(seen), 5, source, tmp_path / "cache")


def test_samples_are_spread_over_the_first_seconds(tmp_path: Path) -> None:
    source = a_source(tmp_path)
    book = a_book(source, tmp_path)
    samples = Sampler(source, book, FakeLips(), COLOURS).samples(1000, lambda: False)
    times = [sample.time_s for sample in samples]
    assert 20 <= len(samples) <= MOST_SAMPLES
    assert times[0] == 0
    assert 3.5 < times[-1] < 4.0
    assert np.ptp(np.diff(times)) < 1e-6
    assert book.known == 101
    pose = samples[0].pose
    assert 0 < pose.mouth_x_px < samples[0].crop.shape[1]


def test_each_sample_is_studied_once_on_the_way(tmp_path: Path) -> None:
    class Studious(FakeLips):
        def study(self, sample: FaceSample) -> tuple[float, str]:
            return sample.time_s, threading.current_thread().name

    source = a_source(tmp_path, 30)
    samples = Sampler(source, a_book(source, tmp_path), Studious(), COLOURS).samples(
        30, lambda: False
    )
    assert samples
    for sample in samples:
        time_s, thread = sample.studied
        assert time_s == sample.time_s
        assert thread.startswith("dub-study")


def test_a_backend_that_needs_no_more_is_shown_one_frame(tmp_path: Path) -> None:
    source = a_source(tmp_path)
    book = a_book(source, tmp_path)
    lips = FakeLips()
    lips.learn_s = 0.0
    samples = Sampler(source, book, lips, COLOURS).samples(1000, lambda: False)
    assert [sample.time_s for sample in samples] == [0]
    assert book.known == 2


def test_a_limit_ends_the_search(tmp_path: Path) -> None:
    source = a_source(tmp_path)
    book = a_book(source, tmp_path)
    assert Sampler(source, book, FakeLips(), COLOURS).samples(10, lambda: False)
    assert book.known == 10


def test_no_face_gives_no_samples_and_is_not_searched_twice(tmp_path: Path) -> None:
    source = a_source(tmp_path)
    book = a_book(source, tmp_path, seen=False)
    sampler = Sampler(source, book, FakeLips(), COLOURS)
    assert sampler.samples(130, lambda: False) == []
    assert book.known == 130
    assert sampler.samples(130, lambda: False) == []


def test_learning_stops_when_asked(tmp_path: Path) -> None:
    source = a_source(tmp_path, 20)
    with pytest.raises(StoppedError):
        Sampler(source, a_book(source, tmp_path), FakeLips(), COLOURS).samples(20, lambda: True)


def a_sample() -> FaceSample:
    return FaceSample(np.zeros((4, 4, 3), np.uint8), Pose(1, 1, 1, 0, 1, 1, 1), 0.0)


def test_what_was_learned_is_taken_from_the_cache(tmp_path: Path) -> None:
    lips, cached = FakeLips(), tmp_path / "learned.npz"
    assert learned(lips, cached, lambda: [a_sample()] * 3) == [3]
    assert learned(lips, cached, lambda: pytest.fail("asked again")) == [3]
    assert lips.learned == 1


def test_a_cache_that_the_backend_refuses_is_learned_anew(tmp_path: Path) -> None:
    lips, cached = FakeLips(), tmp_path / "learned.npz"
    save_arrays(cached, {"other": np.zeros(3)})
    assert learned(lips, cached, lambda: [a_sample()]) == [1]


def test_without_samples_nothing_is_learned(tmp_path: Path) -> None:
    assert learned(FakeLips(), tmp_path / "learned.npz", list) is None
    assert not (tmp_path / "learned.npz").exists()
