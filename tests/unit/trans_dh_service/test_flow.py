"""Stages end together, whatever happens."""

from __future__ import annotations

import threading
import time

import pytest

from trans_dh_service.flow import Channel, Clock, Flow, HaltedError


def test_items_pass_in_order_through_a_bounded_queue() -> None:
    flow = Flow()
    channel: Channel[int] = flow.channel(3)
    most = []

    def fill() -> None:
        for number in range(50):
            channel.put(number)
        channel.close()

    flow.spawn("fill", fill)
    found = []
    for number in channel:
        most.append(len(channel.left.__self__._items))  # type: ignore[attr-defined]
        found.append(number)
    flow.join()
    assert found == list(range(50))
    assert max(most) <= 3


def test_the_first_error_of_any_stage_is_raised_and_ends_all() -> None:
    flow = Flow()
    first: Channel[int] = flow.channel(1)
    second: Channel[int] = flow.channel(1)

    def endless() -> None:
        while True:
            first.put(1)

    def breaks() -> None:
        for number, _ in enumerate(first):
            if number == 5:
                raise ValueError("five is too much")
            second.put(number)

    flow.spawn("endless", endless)
    flow.spawn("breaks", breaks)
    with pytest.raises(HaltedError):
        list(second)
    with pytest.raises(ValueError, match="five"):
        flow.join()
    assert not {"endless", "breaks"} & {thread.name for thread in threading.enumerate()}


def test_a_halt_wakes_who_waits_for_room() -> None:
    flow = Flow()
    channel: Channel[int] = flow.channel(1)
    channel.put(1)
    flow.spawn("stuck", lambda: channel.put(2))
    time.sleep(0.05)
    flow.halt()
    flow.join()
    assert flow.halted
    assert channel.left() == [1]
    assert channel.left() == []


def test_a_clock_adds_up_the_time_of_each_part() -> None:
    clock = Clock()
    for _ in range(2):
        with clock.busy("nap"):
            time.sleep(0.02)
    with pytest.raises(KeyError), clock.busy("fall"):
        raise KeyError
    assert clock.busy_s()["nap"] >= 0.04
    assert set(clock.busy_s()) == {"nap", "fall"}
    assert clock.wall_s >= 0.04
