"""Byte-level BPE: any text round-trips, merges are learnt from what is frequent, files agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.story.bpe import END, Bpe, learn
from scripts.story.corpus import stories, stream


@pytest.fixture(scope="module")
def bpe() -> Bpe:
    return BPE


BPE = Bpe(learn(list(stories(1, 200)), 600))


@given(st.text())
def test_any_text_round_trips(text: str) -> None:
    assert BPE.decode(BPE.encode(text)) == text


def test_the_end_of_text_inside_a_text_is_ordinary_text(bpe: Bpe) -> None:
    assert bpe.end_id not in bpe.encode(f"once {END} upon")
    assert bpe.end_id == len(bpe.ids) - 1 == 599


def test_frequent_words_become_one_token(bpe: Bpe) -> None:
    assert len(bpe.encode(" said")) == 1
    assert len(bpe.encode(" the")) == 1
    assert len(bpe.encode(" xylophone")) > 3


def test_merges_are_learnt_by_frequency_and_stop_when_nothing_repeats() -> None:
    assert learn(["aab aab aab xy"], 258) == [("a", "b")]
    assert learn(["abc"], 300) == []


def test_files_are_those_of_gpt2_and_read_back(bpe: Bpe, tmp_path: Path) -> None:
    bpe.save(tmp_path)
    vocab = json.loads((tmp_path / "vocab.json").read_text(encoding="utf-8"))
    assert sorted(vocab.values()) == list(range(600))
    assert vocab["!"] == 0
    assert vocab["Ā"] == 188
    again = Bpe.load(tmp_path)
    assert again.ids == vocab
    assert again.encode("Once upon a time, naïve 42") == bpe.encode("Once upon a time, naïve 42")


def test_the_stream_puts_an_end_of_text_before_and_after_every_story(bpe: Bpe) -> None:
    texts = list(stories(2, 3))
    ids, starts = stream(bpe, texts)
    assert ids[-1] == bpe.end_id
    assert [int(ids[start]) for start in starts] == [bpe.end_id] * 3
    assert bpe.decode(int(n) for n in ids[starts[1] : starts[2]]) == texts[1]
