"""How prompts are shared out over steps."""

from __future__ import annotations

import pytest

from models.text.step import (
    ALONE_S,
    CHUNK_FIRST,
    CHUNK_MAX,
    CHUNK_MIN,
    SHARED_S,
    Pace,
    allowance,
)


def settled(seconds: dict[int, float], left_s: float = SHARED_S) -> int:
    """The size that a pace comes to, on a machine that takes these times."""
    pace = Pace()
    size = 0
    for _ in range(40):
        size = pace.fit(10_000, left_s)
        pace.learn(size, seconds[size])
    return size


LINEAR = {2**n: 2**n * 0.0012 for n in range(4, 10)}
FLAT = {2**n: 0.02 for n in range(4, 10)}
SLOW = {2**n: 1.0 * 2**n for n in range(4, 10)}


@pytest.mark.parametrize(
    ("prompts", "streams", "seconds"),
    [
        (1, 0, ALONE_S),
        (1, 1, SHARED_S),
        (1, 16, SHARED_S),
        (3, 2, 1.5 * SHARED_S),
        (16, 1, ALONE_S),
    ],
)
def test_prompts_hold_up_streams_the_longer_the_more_of_them_wait(
    prompts: int, streams: int, seconds: float
) -> None:
    assert allowance(prompts, streams) == pytest.approx(seconds)


def test_the_first_chunk_is_of_a_middle_size() -> None:
    assert Pace().fit(1000, SHARED_S) == CHUNK_FIRST
    assert Pace().fit(5, SHARED_S) == 5


@pytest.mark.parametrize(
    ("seconds", "left_s", "size"),
    [
        (LINEAR, SHARED_S, 32),
        (LINEAR, ALONE_S, 128),
        (FLAT, SHARED_S, CHUNK_MAX),
        (SLOW, ALONE_S, CHUNK_MIN),
    ],
)
def test_chunks_become_as_long_as_the_time_allows(
    seconds: dict[int, float], left_s: float, size: int
) -> None:
    assert settled(seconds, left_s) == size


def test_short_prompts_do_not_make_long_ones_slow() -> None:
    """A network that is bound by its weights takes as long for 8 tokens as for 64."""
    pace = Pace()
    for _ in range(50):
        pace.learn(8, 0.02)
    sizes = []
    for _ in range(6):
        sizes.append(pace.fit(1000, SHARED_S))
        pace.learn(sizes[-1], 0.021)
    assert sizes == [32, 64, 128, 256, 512, 512]


def test_one_slow_chunk_is_forgotten() -> None:
    pace = Pace()
    pace.learn(128, 5.0)
    assert pace.fit(1000, SHARED_S) == CHUNK_MIN
    sizes = []
    for _ in range(60):
        sizes.append(pace.fit(1000, SHARED_S))
        pace.learn(sizes[-1], LINEAR[sizes[-1]])
    assert sizes[-1] == 32


def test_a_guess_is_the_time_of_the_nearest_size() -> None:
    pace = Pace()
    assert pace.guess(7) == SHARED_S
    pace.learn(60, 0.1)
    assert pace.guess(64) == pytest.approx(0.1)
    assert pace.guess(128) == pytest.approx(0.15)
    assert pace.guess(17) == pytest.approx(0.05)
