"""Requests and streams."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from models.text.base import TextError
from models.text.request import Finish, TextPiece, TextRequest, TextStream

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": -1}, "max_tokens is -1; allowed: 0 or more"),
    ({"temperature": -0.1}, "temperature is -0.1"),
    ({"temperature": float("nan")}, "temperature is nan"),
    ({"top_k": 0}, "top_k is 0; allowed: 1 or more, or null"),
    ({"top_p": 0.0}, "top_p is 0.0; allowed: above 0, up to 1"),
    ({"top_p": 1.1}, "top_p is 1.1"),
    ({"presence_penalty": 2.5}, "presence_penalty is 2.5; allowed: -2 to 2"),
    ({"frequency_penalty": float("nan")}, "frequency_penalty is nan"),
    ({"logprobs": -1}, "logprobs is -1"),
    ({"stop": ("a", "")}, "stop is"),
    ({"logit_bias": {3: 101.0}}, "logit_bias of 3 is 101.0; allowed: -100 to 100"),
]


@pytest.mark.parametrize(("fields", "message"), WRONG)
def test_a_value_out_of_range_is_refused_by_name(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(TextError, match=message):
        TextRequest((1,), **fields)


def test_a_stream_gives_its_pieces_in_order_and_ends() -> None:
    stream = TextStream()
    for piece in (TextPiece("a", 1), TextPiece("b", 2, Finish.LENGTH)):
        assert stream.put(piece)
    assert [piece.text for piece in stream] == ["a", "b"]
    assert stream.finished
    assert stream.poll(1) is None


def test_nothing_is_added_after_the_last_piece() -> None:
    stream = TextStream()
    assert stream.put(TextPiece("a", 1, Finish.STOP))
    assert not stream.put(TextPiece("b", 2, Finish.CANCELLED))
    assert [piece.finish_reason for piece in stream] == ["stop"]


def test_poll_waits_no_longer_than_asked() -> None:
    stream = TextStream()
    assert stream.poll() is None
    began = time.monotonic()
    assert stream.poll(0.05) is None
    assert 0.04 < time.monotonic() - began < 2
    timer = threading.Timer(0.05, stream.put, [TextPiece("late", 1)])
    timer.start()
    assert stream.poll(5) == TextPiece("late", 1)
    timer.join()


def test_cancel_wakes_the_engine_once() -> None:
    woken: list[int] = []
    stream = TextStream(lambda: woken.append(1))
    with stream:
        assert woken == []
    stream.cancel()
    assert stream.cancelled
    assert woken == [1]


def test_an_ended_stream_is_not_cancelled() -> None:
    stream = TextStream()
    stream.put(TextPiece("", 0, Finish.LENGTH))
    stream.cancel()
    assert not stream.cancelled


def test_requests_need_neither_torch_nor_numpy() -> None:
    code = "import sys, models.text.request; print({'torch', 'numpy'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"
