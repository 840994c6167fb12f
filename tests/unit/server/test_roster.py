"""The roster: what workers say of themselves, across a fork, and their metrics as one text."""

from __future__ import annotations

import os
import secrets
import time
from dataclasses import replace

import pytest

from server import metrics
from server.roster import Presence, Roster, merged

ME = Presence(1, 0, "ready", "", "cpu", 100.0, 0.0)

ONE = """# HELP x_total What it counts.
# TYPE x_total counter
x_total{a="b c"} 1.0
# HELP y Plain.
# TYPE y gauge
y 2.0
# HELP shared Told alike.
# TYPE shared gauge
shared{state="queued"} 3.0
"""


def test_what_a_worker_says_is_read_until_its_desk_is_cleared() -> None:
    roster = Roster()
    roster.desk(7).write(ME)
    roster.desk(8).write(replace(ME, pid=2, slot=1, status="loading", reason="models"))
    assert [one.status for one in roster.all()] == ["ready", "loading"]
    roster.desk(7).write(replace(ME, status="draining"))
    roster.desk(8).clear()
    assert roster.all() == [replace(ME, status="draining")]


def test_another_process_reads_it() -> None:
    roster = Roster()
    child = os.fork()
    if child == 0:
        roster.desk(1).write(replace(ME, pid=os.getpid(), metrics=ONE))
        os._exit(0)
    os.waitpid(child, 0)
    assert roster.all() == [replace(ME, pid=child, metrics=ONE)]


def test_metrics_that_do_not_fit_are_left_out_and_the_rest_is_told() -> None:
    roster = Roster()
    roster.desk(1).write(replace(ME, metrics=secrets.token_hex(200_000)))
    assert roster.all() == [ME]


def test_a_worker_that_died_while_writing_is_passed_over() -> None:
    roster = Roster()
    desk = roster.desk(1)
    desk.write(ME)
    roster.pages[desk.offset + 20] ^= 0xFF
    assert desk.read() is None


def test_the_age_tells_how_long_a_worker_has_been_silent() -> None:
    assert replace(ME, at=time.time() - 30).age_s == pytest.approx(30, abs=1)


def test_samples_of_several_workers_are_labelled_with_their_slots() -> None:
    other = ONE.replace(" 1.0", " 5.0").replace(" 3.0", " 9.0")
    text = merged([(0, ONE), (2, other)], frozenset({"shared"}))
    assert text.splitlines() == [
        "# HELP x_total What it counts.",
        "# TYPE x_total counter",
        'x_total{slot="0",a="b c"} 1.0',
        'x_total{slot="2",a="b c"} 5.0',
        "# HELP y Plain.",
        "# TYPE y gauge",
        'y{slot="0"} 2.0',
        'y{slot="2"} 2.0',
        "# HELP shared Told alike.",
        "# TYPE shared gauge",
        'shared{state="queued"} 3.0',
    ]


def test_a_lone_worker_s_metrics_have_no_slot_and_two_workers_have() -> None:
    mine = replace(ME, pid=os.getpid())
    alone, _ = metrics.render_all([mine], os.getpid())
    assert b"slot=" not in alone
    waiting = replace(ME, pid=5, started_at=200.0, metrics=ONE)  # reloads into the same slot
    assert b"slot=" not in metrics.render_all([mine, waiting], os.getpid())[0]
    both, kind = metrics.render_all([mine, replace(waiting, slot=1)], os.getpid())
    assert b'y{slot="1"} 2.0' in both
    assert b'mouthpiece_rss_bytes{slot="0"}' in both
    assert b"\nmouthpiece_worker_restarts_total " in both
    assert "text/plain" in kind
