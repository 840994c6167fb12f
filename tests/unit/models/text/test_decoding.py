"""Bytes to text, and stop strings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.decoding import StopFinder, TextDecoder, label


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


@given(st.one_of(st.binary(), st.text().map(str.encode)), st.lists(st.integers(0, 999)))
def test_any_cut_of_the_bytes_gives_the_text_of_all_of_them(data: bytes, cuts: list[int]) -> None:
    decoder = TextDecoder()
    text = "".join(decoder.feed(piece) for piece in pieces(data, cuts)) + decoder.end()
    assert text == data.decode("utf-8", "replace")


def test_a_character_is_shown_when_its_last_byte_comes() -> None:
    decoder = TextDecoder()
    assert [decoder.feed(bytes([byte])) for byte in "é€".encode()] == ["", "é", "", "", "€"]
    assert decoder.end() == ""


def test_bytes_that_end_inside_a_character_become_one_replacement_at_the_end() -> None:
    decoder = TextDecoder()
    assert decoder.feed(b"a\xe2\x82") == "a"
    assert decoder.end() == "\ufffd"


def cut_at(text: str, stops: list[str]) -> str:
    """The rule, letter by letter: before the first stop string to be complete."""
    for size in range(1, len(text) + 1):
        ended = [stop for stop in stops if text[:size].endswith(stop)]
        if ended:
            return text[: size - max(map(len, ended))]
    return text


@given(
    st.text("ab.", max_size=30),
    st.lists(st.text("ab.", min_size=1, max_size=4), max_size=3),
    st.lists(st.integers(0, 99)),
)
def test_a_stop_string_is_found_however_the_text_is_cut(
    text: str, stops: list[str], cuts: list[int]
) -> None:
    finder = StopFinder(stops)
    shown = "".join(finder.feed(piece.decode()) for piece in pieces(text.encode(), cuts))
    assert cut_at(text, stops).startswith(shown)
    if not finder.found:
        shown += finder.end()
    assert shown == cut_at(text, stops)
    assert finder.found == any(stop in text for stop in stops)


def test_only_what_may_become_a_stop_string_is_held_back() -> None:
    finder = StopFinder(["\n\n", "END"])
    assert finder.feed("one\n") == "one"
    assert finder.feed("two E") == "\ntwo "
    assert finder.feed("N") == ""
    assert finder.feed("ough") == "ENough"


def test_nothing_is_shown_after_a_stop_string() -> None:
    finder = StopFinder(["x"])
    assert finder.feed("axb") == "a"
    assert finder.found
    assert finder.feed("more") == ""


@pytest.mark.parametrize(
    ("data", "text"), [(b" word", " word"), (b"\xe2\x82", "bytes:\\xe2\\x82"), (b"", "")]
)
def test_a_token_is_labelled_by_its_text_or_its_bytes(data: bytes, text: str) -> None:
    assert label(data) == text
