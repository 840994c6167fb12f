"""Tokenizers from files."""

from __future__ import annotations

import base64
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.text.base import TextError
from models.text.tokenizer import (
    BytePairs,
    byte_letters,
    find_tokenizer,
    load_tokenizer,
)
from tests.unit.models.text.goldens import RANKS

# Merged in this order: "th", "the", " the", "in", "ing".
MERGES = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("in", "g")]
TEXTS = [
    "the thing in the",
    " the\n\n  inging",
    "Ünï — 漢字 🙂 \x00\t'll",
    "",
    "  ",
    "<|endoftext|>",
]


def vocab() -> dict[str, int]:
    """In GPT-2's order: printable bytes first, then the others, merges and the end of text."""
    letters = sorted(byte_letters())
    names = [*letters, *("".join(pair) for pair in MERGES), "<|endoftext|>"]
    return {name: number for number, name in enumerate(names)}


def write_vocab(folder: Path, ids: dict[str, int] | None = None) -> Path:
    (folder / "vocab.json").write_text(json.dumps(ids or vocab()), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in MERGES)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder / "vocab.json"


def write_json(file: Path, **changes: Any) -> Path:
    ids = vocab()
    end = ids.pop("<|endoftext|>")
    model = {"type": "BPE", "vocab": ids, "merges": [list(pair) for pair in MERGES]}
    whole = {
        "model": model,
        "pre_tokenizer": {"type": "ByteLevel"},
        "added_tokens": [{"content": "<|endoftext|>", "id": end}],
        **changes,
    }
    file.write_text(json.dumps(whole), encoding="utf-8")
    return file


def write_ranks(file: Path) -> Path:
    tokens = [bytes([value]) for value in range(256)] + [b"th", b"the", b" the", b"in", b"ing"]
    lines = [base64.b64encode(token) + b" %d" % rank for rank, token in enumerate(tokens)]
    file.write_bytes(b"\n".join(lines) + b"\n")
    return file


def write_meta(file: Path, stoi: Any) -> Path:
    size = len(stoi) if isinstance(stoi, dict) else 0
    file.write_bytes(pickle.dumps({"vocab_size": size, "stoi": stoi, "itos": {}}))
    return file


def whole(tokenizer: Any, ids: list[int]) -> bytes:
    return b"".join(tokenizer.token_bytes(token) for token in ids)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", ["vocab", "json", "ranks"])
def test_text_goes_round(tmp_path: Path, kind: str, text: str) -> None:
    makers = {
        "vocab": lambda: write_vocab(tmp_path),
        "json": lambda: write_json(tmp_path / "tokenizer.json"),
        "ranks": lambda: write_ranks(tmp_path / "gpt2.tiktoken"),
    }
    tokenizer = load_tokenizer(makers[kind]())
    ids = tokenizer.encode(text)
    assert whole(tokenizer, ids) == text.encode()
    assert tokenizer.size == 262
    assert tokenizer.eos_id == 261
    assert 261 not in ids


def test_merges_are_applied_in_their_order(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_vocab(tmp_path))
    pieces = [tokenizer.token_bytes(token) for token in tokenizer.encode("the thing in the")]
    assert pieces == [b"the", b" ", b"th", b"ing", b" ", b"in", b" the"]
    assert tokenizer.encode("the") == [vocab()["the"]]


def test_ids_in_any_order_are_followed(tmp_path: Path) -> None:
    count = len(vocab())
    turned = {name: count - 1 - number for name, number in vocab().items()}
    tokenizer = load_tokenizer(write_vocab(tmp_path, turned))
    assert tokenizer.encode("the") == [turned["the"]]
    assert tokenizer.eos_id == 0
    assert tokenizer.token_bytes(turned["ing"]) == b"ing"


def test_ids_without_a_token_give_no_bytes(tmp_path: Path) -> None:
    assert load_tokenizer(write_vocab(tmp_path)).token_bytes(9999) == b""


def test_byte_letters_are_distinct_and_printable() -> None:
    letters = byte_letters()
    assert len(set(letters)) == 256
    assert all(letter.isprintable() and not letter.isspace() for letter in letters)
    assert letters[ord(" ")] == "Ġ"
    assert letters[ord("\n")] == "Ċ"


@pytest.mark.skipif(not RANKS.is_file(), reason=f"{RANKS} is absent")
def test_gpt2s_own_ranks_give_its_well_known_ids() -> None:
    tokenizer = load_tokenizer(RANKS)
    assert tokenizer.encode("Hello world") == [15496, 995]
    assert (tokenizer.size, tokenizer.eos_id) == (50257, 50256)
    assert tokenizer.token_bytes(50256) == b"<|endoftext|>"
    assert 50256 not in tokenizer.encode("<|endoftext|>")


def test_characters_go_round_and_strangers_are_named(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_meta(tmp_path / "meta.pkl", {"a": 0, "é": 1, "\n": 2}))
    assert tokenizer.encode("é\na") == [1, 2, 0]
    assert whole(tokenizer, [1, 2, 0, 77]) == "é\na".encode()
    assert (tokenizer.size, tokenizer.eos_id) == (3, None)
    with pytest.raises(TextError, match="'b'"):
        tokenizer.encode("ab")


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_meta_file_that_holds_code_is_refused_and_not_run(tmp_path: Path) -> None:
    file = write_meta(tmp_path / "meta.pkl", {"a": Evil(tmp_path / "ran")})
    with pytest.raises(TextError, match="holds code .*, which is not run"):
        load_tokenizer(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("stoi", [{}, [1], {"a": "b"}, {1: 2}, {"a": -1}])
def test_a_meta_file_without_characters_is_refused(tmp_path: Path, stoi: Any) -> None:
    with pytest.raises(TextError, match="stoi"):
        load_tokenizer(write_meta(tmp_path / "meta.pkl", stoi))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("meta.pkl", b"", "meta.pkl"),
        ("meta.pkl", b"nonsense", "meta.pkl"),
        ("gpt2.tiktoken", b"@@@ 1", "base64"),
        ("gpt2.tiktoken", b"YQ==", "gpt2.tiktoken"),
        ("gpt2.tiktoken", b"YQ== 0", "no token for byte 0"),
        ("vocab.json", b"{", "vocab.json"),
        ("tokenizer.json", b"{}", "no 'model'"),
        ("tokenizer.json", b"[]", "tokenizer.json"),
        ("spiece.model", b"", "a tokenizer is"),
    ],
)
def test_damaged_files_are_refused_by_name(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TextError, match=words):
        load_tokenizer(tmp_path / name)


def test_other_kinds_of_tokenizer_json_are_refused(tmp_path: Path) -> None:
    for changes in ({"model": {"type": "Unigram"}}, {"pre_tokenizer": {"type": "Metaspace"}}):
        with pytest.raises(TextError, match="byte-level BPE"):
            load_tokenizer(write_json(tmp_path / "tokenizer.json", **changes))


def test_ids_that_are_no_numbers_or_shared_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="whole number"):
        load_tokenizer(write_vocab(tmp_path, {**vocab(), "the": -1}))
    with pytest.raises(TextError, match="share an id"):
        load_tokenizer(write_vocab(tmp_path, {**vocab(), "the": 3}))


def test_the_first_folder_that_has_one_is_taken(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    second.mkdir()
    write_ranks(second / "gpt2.tiktoken")
    assert find_tokenizer([first, second]).size == 262
    first.mkdir()
    assert find_tokenizer([first, second]).size == 262
    write_meta(first / "meta.pkl", {"a": 0})
    assert find_tokenizer([first, second]).size == 1
    assert find_tokenizer([first], second).size == 262
    assert find_tokenizer([first], second / "gpt2.tiktoken").size == 262


def test_where_there_is_none_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="there is no tokenizer in .*TOKENIZER"):
        find_tokenizer([tmp_path])
    with pytest.raises(TextError, match="nowhere"):
        find_tokenizer([tmp_path], tmp_path / "nowhere")
    (tmp_path / "vocab.json").write_text("{}")
    with pytest.raises(TextError, match="merges.txt"):
        find_tokenizer([tmp_path])


_ALL_BYTES = [bytes([value]) for value in range(256)]


@given(st.text(max_size=40))
def test_any_text_goes_round(text: str) -> None:
    pairs = BytePairs([*_ALL_BYTES, b"ab", b"\xc3\xa9"], range(258), {})
    assert whole(pairs, pairs.encode(text)) == text.encode("utf-8", "replace")
