"""The lane: order, batches, out-of-memory, culprits, cancel, stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import lane as lane_module
from models.lane import BatchReport, Engine, Lane, LaneError, Priority

WAIT_S = 10


class FakeEngine:
    """Doubles numbers. `gate` holds its first batch; `rule` may raise for a batch."""

    def __init__(
        self,
        name: str = "double",
        priority: Priority = Priority.BATCH,
        max_batch: int = 4,
        rule: Callable[[list[Any]], None] = lambda items: None,
        seconds: float = 0.0,
    ) -> None:
        self.name = name
        self.priority = priority
        self.max_batch = max_batch
        self.rule = rule
        self.seconds = seconds
        self.batches: list[list[Any]] = []
        self.times: list[float] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def run(self, items: Sequence[Any]) -> list[Any]:
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        self.batches.append(list(items))
        self.times.append(time.monotonic())
        time.sleep(self.seconds)
        self.rule(list(items))
        return [item * 2 for item in items]


class CudaOutOfMemoryError(RuntimeError):
    """Looks like torch's."""


class Fixture:
    """Makes lanes and stops them."""

    def __init__(self) -> None:
        self.lanes: list[Lane] = []

    def __call__(self, *engines: Engine, **options: Any) -> Lane:
        lane = Lane(engines, **options)
        lane.start()
        self.lanes.append(lane)
        return lane


@pytest.fixture
def start() -> Iterator[Fixture]:
    fixture = Fixture()
    yield fixture
    for lane in fixture.lanes:
        lane.stop()


def hold(lane: Lane, engine: FakeEngine) -> Any:
    """Occupy the lane until `engine.gate` opens."""
    engine.gate.clear()
    engine.entered.clear()
    future = lane.submit(engine.name, 0)
    assert engine.entered.wait(WAIT_S)
    return future


def out_of_memory_above(limit: int) -> Callable[[list[Any]], None]:
    def rule(items: list[Any]) -> None:
        if len(items) > limit:
            raise CudaOutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    return rule


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


def test_out_of_memory_halves_the_batch_and_every_item_still_succeeds(start: Fixture) -> None:
    freed: list[int] = []
    engine = FakeEngine(max_batch=8, rule=out_of_memory_above(2))
    lane = start(engine, free_memory=lambda: freed.append(1))
    first = hold(lane, engine)
    futures = [lane.submit("double", number) for number in range(8)]
    engine.gate.set()
    assert first.result(WAIT_S) == 0
    assert [future.result(WAIT_S) for future in futures] == [2 * number for number in range(8)]
    stats = lane.stats()["double"]
    assert (stats.effective_max, stats.ooms, stats.failed_items) == (2, 3, 0)
    assert len(freed) == 3


def test_after_out_of_memory_later_batches_keep_to_the_smaller_size(start: Fixture) -> None:
    engine = FakeEngine(max_batch=4, rule=out_of_memory_above(2))
    lane = start(engine)
    for _ in range(2):
        first = hold(lane, engine)
        futures = [lane.submit("double", 1) for _ in range(4)]
        engine.gate.set()
        for future in [first, *futures]:
            future.result(WAIT_S)
    assert [len(batch) for batch in engine.batches] == [1, 4, 2, 2, 1, 2, 2]


def test_an_item_that_never_fits_fails_alone(start: Fixture) -> None:
    def rule(items: list[Any]) -> None:
        if 7 in items:
            raise MemoryError("no room for 7")

    engine = FakeEngine(max_batch=4, rule=rule)
    lane = start(engine)
    first = hold(lane, engine)
    futures = {number: lane.submit("double", number) for number in (5, 6, 7, 8)}
    engine.gate.set()
    first.result(WAIT_S)
    assert [futures[number].result(WAIT_S) for number in (5, 6, 8)] == [10, 12, 16]
    with pytest.raises(MemoryError, match="no room for 7"):
        futures[7].result(WAIT_S)
    assert lane.stats()["double"].failed_items == 1


def test_a_single_item_is_tried_again_once_the_memory_is_freed(start: Fixture) -> None:
    freed: list[int] = []

    def rule(_items: list[Any]) -> None:
        if not freed:
            raise MemoryError

    lane = start(FakeEngine(rule=rule), free_memory=lambda: freed.append(1))
    assert lane.submit("double", 4).result(WAIT_S) == 8


def test_the_batch_size_recovers_slowly(start: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "RECOVER_AFTER", 3)
    short = [True]

    def rule(items: list[Any]) -> None:
        if short and len(items) > 1:
            short.clear()
            raise MemoryError

    engine = FakeEngine(max_batch=2, rule=rule)
    lane = start(engine)
    first = hold(lane, engine)
    pair = [lane.submit("double", 1), lane.submit("double", 2)]
    engine.gate.set()
    for future in [first, *pair]:
        future.result(WAIT_S)
    limits = []
    for _ in range(3):
        lane.submit("double", 1).result(WAIT_S)
        deadline = time.monotonic() + 0.05
        while time.monotonic() < deadline:
            time.sleep(0.005)
        limits.append(lane.stats()["double"].effective_max)
    assert limits == [1, 1, 2]


def test_an_error_fails_only_the_item_that_causes_it(start: Fixture) -> None:
    def rule(items: list[Any]) -> None:
        if 3 in items:
            raise ValueError("3 is not for me")

    engine = FakeEngine(max_batch=8, rule=rule)
    lane = start(engine)
    first = hold(lane, engine)
    futures = [lane.submit("double", number) for number in range(8)]
    engine.gate.set()
    first.result(WAIT_S)
    with pytest.raises(ValueError, match="3 is not for me"):
        futures[3].result(WAIT_S)
    good = [future.result(WAIT_S) for number, future in enumerate(futures) if number != 3]
    assert good == [0, 2, 4, 8, 10, 12, 14]


def test_a_wrong_number_of_results_is_an_error_and_not_a_mix_up(start: Fixture) -> None:
    class Short(FakeEngine):
        def run(self, items: Sequence[Any]) -> list[Any]:
            return []

    with pytest.raises(LaneError, match="gave 0 results for 1 items"):
        start(Short()).submit("double", 1).result(WAIT_S)


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


def dead(_items: list[Any]) -> None:
    raise RuntimeError("CUDA error: device-side assert triggered")


def test_a_dead_device_is_told_once_and_the_lane_closes(start: Fixture) -> None:
    told: list[str] = []
    lane = start(FakeEngine(rule=dead), on_dead=told.append)
    future = lane.submit("double", 1)
    deadline = time.monotonic() + WAIT_S
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told == ["CUDA error: device-side assert triggered"]
    assert not future.done()
    with pytest.raises(LaneError):
        lane.submit("double", 1)


def test_a_device_that_dies_on_the_retry_is_noticed_too(start: Fixture) -> None:
    told: list[str] = []
    errors: list[Exception] = [MemoryError(), RuntimeError("an illegal memory access")]

    def rule(_items: list[Any]) -> None:
        raise errors.pop(0)

    lane = start(FakeEngine(rule=rule), on_dead=told.append)
    lane.submit("double", 1)
    deadline = time.monotonic() + WAIT_S
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told == ["an illegal memory access"]


def test_a_failing_report_ends_the_lane_loudly_instead_of_hanging_in_silence(
    start: Fixture,
) -> None:
    told: list[str] = []

    def report(_report: BatchReport) -> None:
        raise ZeroDivisionError("broken report")

    lane = start(FakeEngine(), on_batch=report, on_dead=told.append)
    assert lane.submit("double", 1).result(WAIT_S) == 2
    deadline = time.monotonic() + WAIT_S
    while not told and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told == ["the lane failed: broken report"]


@settings(max_examples=40, deadline=None)
@given(
    bad=st.sets(st.integers(0, 15)),
    fits=st.integers(1, 8),
    max_batch=st.integers(1, 8),
)
def test_exactly_the_culprits_fail_whatever_the_batches(
    bad: set[int], fits: int, max_batch: int
) -> None:
    def rule(items: list[Any]) -> None:
        out_of_memory_above(fits)(items)
        if bad & set(items):
            raise ValueError("bad")

    engine = FakeEngine(max_batch=max_batch, rule=rule)
    lane = Lane([engine])
    futures = [lane.submit("double", number) for number in range(16)]
    lane.start()
    failed = {n for n, future in enumerate(futures) if future.exception(WAIT_S) is not None}
    lane.stop()
    assert failed == bad
    assert all(futures[n].result(0) == 2 * n for n in range(16) if n not in bad)
    assert all(len(batch) <= max_batch for batch in engine.batches)
