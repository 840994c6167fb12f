"""Tokenizers from local files: GPT-2 byte pairs, and nanoGPT's characters. Nothing is downloaded.

What it is not: incremental decoding of a stream (decoding.py).
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tiktoken

from models.text.base import TextError, Tokenizer

END_OF_TEXT = "<|endoftext|>"
# How GPT-2 cuts a text before it merges bytes (openai/gpt-2, encoder.py).
_PIECES = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
_LARGEST_BYTES = 64 * 1024 * 1024


class BytePairs(Tokenizer):
    """GPT-2's byte-level BPE. Ids may be in another order than merges."""

    def __init__(
        self, tokens: Sequence[bytes], ids: Sequence[int], specials: Mapping[str, int]
    ) -> None:
        """Make one.

        Args:
            tokens: every token's bytes, in the order in which merges are preferred.
            ids: the id of each.
            specials: tokens that stand for no text, with their ids.

        Raises:
            TextError: a byte has no token, or two tokens share bytes or an id.
        """
        every = [*ids, *specials.values()]
        if len(set(tokens)) != len(tokens) or len(set(every)) != len(every):
            raise TextError("two tokens of the tokenizer are the same or share an id")
        lacking = [value for value in range(256) if bytes([value]) not in set(tokens)]
        if lacking:
            raise TextError(f"the tokenizer has no token for byte {lacking[0]}")
        self.size = max(every) + 1
        self.eos_id = specials.get(END_OF_TEXT)
        self._bytes = dict(zip(ids, tokens, strict=True))
        self._bytes.update({number: text.encode() for text, number in specials.items()})
        self._ids = None if list(ids) == list(range(len(ids))) else list(ids)
        ranks = {token: rank for rank, token in enumerate(tokens)}
        self._pairs = tiktoken.Encoding(
            "mouthpiece", pat_str=_PIECES, mergeable_ranks=ranks, special_tokens={}
        )

    def encode(self, text: str) -> list[int]:
        """See Tokenizer."""
        ranks = self._pairs.encode_ordinary(text)
        return ranks if self._ids is None else [self._ids[rank] for rank in ranks]

    def token_bytes(self, token_id: int) -> bytes:
        """See Tokenizer. Ids without a token give no bytes; special tokens their name."""
        return self._bytes.get(token_id, b"")


class Characters(Tokenizer):
    """One id per character, as in nanoGPT's Shakespeare."""

    eos_id = None

    def __init__(self, ids: Mapping[str, int]) -> None:
        self._ids = dict(ids)
        self._bytes = {number: text.encode("utf-8", "replace") for text, number in ids.items()}
        self.size = max(self._bytes) + 1

    def encode(self, text: str) -> list[int]:
        """See Tokenizer."""
        try:
            return [self._ids[character] for character in text]
        except KeyError as error:
            known = "".join(sorted(self._ids))
            raise TextError(
                f"this model does not know the character {error.args[0]!r}; it knows {known!r}"
            ) from None

    def token_bytes(self, token_id: int) -> bytes:
        """See Tokenizer."""
        return self._bytes.get(token_id, b"")


def find_tokenizer(folders: Sequence[Path], explicit: Path | None = None) -> Tokenizer:
    """The tokenizer of a file or folder, or else the first one in `folders`.

    Files: meta.pkl; vocab.json with merges.txt; tokenizer.json; *.tiktoken.

    Raises:
        TextError: there is none, or it is damaged.
    """
    if explicit is not None:
        if explicit.is_file():
            return load_tokenizer(explicit)
        if not explicit.is_dir():
            raise TextError(f"there is no tokenizer {explicit}")
        folders = [explicit]
    for folder in folders:
        file = _in_folder(folder)
        if file is not None:
            return load_tokenizer(file)
    raise TextError(
        f"there is no tokenizer in {folders[0]}: put gpt2.tiktoken, vocab.json with merges.txt, "
        "tokenizer.json or meta.pkl there, or name one with TOKENIZER"
    )


def load_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer of a file, by its name.

    Raises:
        TextError: it is damaged or of another kind.
    """
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise TextError("it is too large for a tokenizer")
        if file.name == "vocab.json":
            return _from_vocab(file)
        reader = _READERS.get(file.suffix)
        if reader is None:
            raise TextError("a tokenizer is a .tiktoken, .json or .pkl file")
        return reader(file)
    except (TextError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else error
        raise TextError(f"tokenizer {file} cannot be used: {what}") from error


def _in_folder(folder: Path) -> Path | None:
    if not folder.is_dir():
        return None
    vocab = folder / "vocab.json"
    if vocab.is_file() and (folder / "merges.txt").is_file():
        return vocab
    named = (folder / "meta.pkl", folder / "tokenizer.json", *sorted(folder.glob("*.tiktoken")))
    return next((file for file in named if file.is_file()), None)


def _from_ranks(file: Path) -> Tokenizer:
    """tiktoken's file: base64 of a token and its rank in each line; ids are ranks."""
    tokens = {}
    for line in file.read_bytes().splitlines():
        if line.strip():
            token, rank = line.split()
            try:
                tokens[int(rank)] = base64.b64decode(token, validate=True)
            except binascii.Error as error:
                raise TextError(f"{line!r} is not base64 and a rank") from error
    order = sorted(tokens)
    end = max(order, default=-1) + 1
    return BytePairs([tokens[rank] for rank in order], order, {END_OF_TEXT: end})


def _from_vocab(file: Path) -> Tokenizer:
    """Hugging Face's older pair of files: token to id, and merges line by line."""
    vocab = json.loads(file.read_text(encoding="utf-8"))
    lines = (file.parent / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    return _from_merges(vocab, merges)


def _from_json(file: Path) -> Tokenizer:
    """Hugging Face's single file, where it holds a byte-level BPE."""
    whole = json.loads(file.read_text(encoding="utf-8"))
    model = whole["model"]
    if model.get("type", "BPE") != "BPE" or "ByteLevel" not in json.dumps(
        whole.get("pre_tokenizer")
    ):
        raise TextError("it is not a byte-level BPE, which is all that GPT-2 has")
    vocab = dict(model["vocab"])
    vocab.update({token["content"]: token["id"] for token in whole.get("added_tokens") or ()})
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
    return _from_merges(vocab, merges)


def _from_merges(vocab: Mapping[str, int], merges: Sequence[Sequence[str]]) -> Tokenizer:
    if not all(isinstance(number, int) and number >= 0 for number in vocab.values()):
        raise TextError("an id is not a whole number from 0")
    letters = byte_letters()
    known = {letter: bytes([value]) for value, letter in enumerate(letters)}
    # Dicts keep order: single bytes first, then merges, each once.
    names = dict.fromkeys([*letters, *("".join(pair) for pair in merges)])
    words = [name for name in names if name in vocab]
    tokens = [b"".join(known[letter] for letter in word) for word in words]
    specials = {name: number for name, number in vocab.items() if name not in names}
    return BytePairs(tokens, [vocab[word] for word in words], specials)


def byte_letters() -> list[str]:
    """The printable letter that stands for each byte in Hugging Face's files.

    Bytes that print in Latin-1 stand for themselves; the others, in order, for U+0100 onward (as
    openai/gpt-2 defines it).
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(value if value in printable else next(others)) for value in range(256)]


def _from_meta(file: Path) -> Tokenizer:
    """nanoGPT's meta.pkl of a character-level data set."""
    try:
        meta: Any = _PlainUnpickler(io.BytesIO(file.read_bytes())).load()
    except (pickle.UnpicklingError, EOFError, IndexError, MemoryError) as error:
        raise TextError(str(error) or "it is damaged") from error
    ids = meta.get("stoi") if isinstance(meta, dict) else None
    if not isinstance(ids, dict) or not ids:
        raise TextError('it has no "stoi"')
    for character, number in ids.items():
        if not isinstance(character, str) or not isinstance(number, int) or number < 0:
            raise TextError(f'"stoi" holds {character!r}: {number!r}, not a character and its id')
    return Characters(ids)


class _PlainUnpickler(pickle.Unpickler):
    """Knows dicts, lists, strings and numbers only; every class or function is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it holds code ({module}.{name}), which is not run")


_READERS = {".tiktoken": _from_ranks, ".json": _from_json, ".pkl": _from_meta}
