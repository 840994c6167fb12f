"""The lane: order, batches, callers, cancel, stop."""

from __future__ import annotations

import threading
import time

import pytest

from models import lane as lane_module
from models.lane import BatchReport, Lane, LaneError, Priority
from tests.unit.models.lanes import WAIT_S, FakeEngine, Fixture, hold


def test_every_item_gets_its_own_result_in_order(start: Fixture) -> None:
    lane = start(FakeEngine())
    futures = [lane.submit("double", number) for number in range(20)]
    assert [future.result(WAIT_S) for future in futures] == [2 * number for number in range(20)]


def test_items_that_wait_share_batches_up_to_the_limit(start: Fixture) -> None:
    engine = FakeEngine(max_batch=4)
    lane = start(engine)
    first = hold(lane, engine)
    futures = [lane.submit("double", number) for number in range(1, 10)]
    engine.gate.set()
    for future in [first, *futures]:
        future.result(WAIT_S)
    assert [len(batch) for batch in engine.batches] == [1, 4, 4, 1]


def test_a_short_wait_gathers_items_that_arrive_almost_together(
    start: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_module, "GATHER_S", 5.0)
    engine = FakeEngine(max_batch=3)
    lane = start(engine)
    futures = [lane.submit("double", number) for number in range(3)]
    for future in futures:
        future.result(WAIT_S)
    assert [len(batch) for batch in engine.batches] == [3]


def test_a_lone_item_does_not_wait_longer_than_the_gather_time(start: Fixture) -> None:
    lane = start(FakeEngine(max_batch=64))
    lane.submit("double", 1).result(WAIT_S)
    waits = []
    for _ in range(5):
        began = time.monotonic()
        lane.submit("double", 1).result(WAIT_S)
        waits.append(time.monotonic() - began)
    assert min(waits) < 0.05


def test_batches_that_mix_callers_are_counted_and_reported(start: Fixture) -> None:
    reports: list[BatchReport] = []
    engine = FakeEngine()
    lane = start(engine, on_batch=reports.append)
    first = hold(lane, engine)
    futures = [lane.submit("double", 1, caller) for caller in ("job a", "job b")]
    engine.gate.set()
    for future in [first, *futures]:
        future.result(WAIT_S)
    lane.stop()
    assert lane.stats()["double"].mixed_batches == 1
    assert [(report.size, report.mixed) for report in reports] == [(1, False), (2, True)]
    assert all(report.waited_s >= 0 and report.busy_s >= 0 for report in reports)


def test_a_higher_priority_goes_first(start: Fixture) -> None:
    order: list[str] = []
    slow = FakeEngine("slow", Priority.BATCH, rule=lambda _: order.append("slow"))
    quick = FakeEngine("quick", Priority.INTERACTIVE, rule=lambda _: order.append("quick"))
    lane = start(slow, quick)
    first = hold(lane, slow)
    futures = [lane.submit("slow", 1), lane.submit("quick", 1)]
    slow.gate.set()
    for future in [first, *futures]:
        future.result(WAIT_S)
    assert order == ["slow", "quick", "slow"]


def test_a_lower_priority_gets_its_turn_while_a_higher_one_never_rests(start: Fixture) -> None:
    text = FakeEngine("text", Priority.INTERACTIVE, max_batch=1, seconds=0.005)
    video = FakeEngine("video", Priority.BATCH, max_batch=1)
    lane = start(text, video)
    stop = threading.Event()

    def flood() -> None:
        waiting = [lane.submit("text", 1) for _ in range(4)]
        while not stop.is_set():
            waiting.append(lane.submit("text", 1))
            waiting.pop(0).result(WAIT_S)

    flooding = threading.Thread(target=flood)
    flooding.start()
    time.sleep(0.05)
    began = time.monotonic()
    lane.submit("video", 1).result(WAIT_S)
    waited_s = time.monotonic() - began
    stop.set()
    flooding.join()
    assert 0.05 < waited_s < 1.0


def test_a_long_backlog_of_low_priority_does_not_starve_the_high_one(start: Fixture) -> None:
    video = FakeEngine("video", Priority.BATCH, max_batch=1, seconds=0.02)
    text = FakeEngine("text", Priority.INTERACTIVE, max_batch=1)
    lane = start(video, text)
    backlog = [lane.submit("video", 1) for _ in range(60)]
    time.sleep(0.3)
    began = time.monotonic()
    for _ in range(5):
        lane.submit("text", 1).result(WAIT_S)
    assert time.monotonic() - began < 0.5
    assert not backlog[-1].done()
    lane.stop()


def test_batches_are_short_while_work_of_a_higher_priority_waits(start: Fixture) -> None:
    text = FakeEngine("text", Priority.INTERACTIVE, max_batch=1, seconds=0.005)
    video = FakeEngine("video", max_batch=4, rule=lambda items: time.sleep(0.02 * len(items)))
    lane = start(text, video)
    steps = [lane.submit("text", 1) for _ in range(80)]
    frames = [lane.submit("video", number) for number in range(16)]
    for future in [*steps, *frames]:
        future.result(WAIT_S)
    beside = sum(began < text.times[-1] for began in video.times)
    sizes = [len(batch) for batch in video.batches]
    assert beside >= 2
    assert set(sizes[:beside]) == {1}
    assert 4 in sizes[beside:]


def test_a_cancelled_item_is_skipped(start: Fixture) -> None:
    engine = FakeEngine()
    lane = start(engine)
    first = hold(lane, engine)
    gone, kept = lane.submit("double", 1), lane.submit("double", 2)
    assert gone.cancel()
    engine.gate.set()
    first.result(WAIT_S)
    assert kept.result(WAIT_S) == 4
    assert engine.batches[1:] == [[2]]


def test_a_queue_of_cancelled_items_only_makes_no_batch(start: Fixture) -> None:
    engine = FakeEngine()
    lane = start(engine)
    first = hold(lane, engine)
    lane.submit("double", 1).cancel()
    engine.gate.set()
    first.result(WAIT_S)
    assert lane.submit("double", 5).result(WAIT_S) == 10
    assert [1] not in engine.batches


def test_stop_finishes_the_batch_in_work_and_fails_what_waits(start: Fixture) -> None:
    engine = FakeEngine()
    lane = start(engine)
    first = hold(lane, engine)
    waiting = lane.submit("double", 1)
    threading.Timer(0.05, engine.gate.set).start()
    lane.stop()
    assert first.result(0) == 0
    with pytest.raises(LaneError, match="stopped"):
        waiting.result(0)
    with pytest.raises(LaneError, match="stopped"):
        lane.submit("double", 1)


def test_a_lane_can_be_stopped_without_having_been_started() -> None:
    lane = Lane([FakeEngine()])
    waiting = lane.submit("double", 1)
    lane.stop()
    with pytest.raises(LaneError):
        waiting.result(0)


def test_an_unknown_engine_is_named_beside_the_known_ones(start: Fixture) -> None:
    with pytest.raises(LaneError, match="no engine 'triple' on the lane; there are: double"):
        start(FakeEngine()).submit("triple", 1)


def test_two_engines_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two engines of one name"):
        Lane([FakeEngine(), FakeEngine()])


def test_an_engine_can_join_a_running_lane(start: Fixture) -> None:
    lane = start(FakeEngine())
    lane.add(FakeEngine("late"))
    assert lane.submit("late", 4).result(WAIT_S) == 8
    assert set(lane.stats()) == {"double", "late"}
    with pytest.raises(ValueError, match="two engines of one name: 'late'"):
        lane.add(FakeEngine("late"))
