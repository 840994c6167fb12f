"""The lane under faults: out of memory, culprits, a dead device."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import lane as lane_module
from models.lane import BatchReport, Lane, LaneError
from tests.unit.models.lanes import (
    WAIT_S,
    FakeEngine,
    Fixture,
    hold,
    out_of_memory_above,
)


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
