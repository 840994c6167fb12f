"""Byte-level BPE in GPT-2's form: learning merges, encoding, vocab.json and merges.txt.

What it is not: the tokenizer that serves (models/text/tokenizer.py reads the files). Any text
round-trips, because every byte is a token. Ids: 256 bytes in GPT-2's order, the merges in the
order in which they were learnt, the end of text last.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

END = "<|endoftext|>"
# GPT-2's pattern; "a letter" is written without \p, which Python's re does not know.
_WORD = re.compile(
    r"'s|'t|'re|'ve|'m|'ll|'d| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+", re.UNICODE
)
Pair = tuple[str, str]


def byte_letters() -> dict[int, str]:
    """GPT-2's printable letter for each byte, in the order of the ids."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    hidden = [byte for byte in range(256) if byte not in letters]
    return letters | {byte: chr(256 + place) for place, byte in enumerate(hidden)}


LETTERS = byte_letters()


def learn(texts: Iterable[str], size: int) -> list[Pair]:
    """The merges of a vocabulary of `size` ids, most frequent pair first; ties by the alphabet."""
    counts = Counter(word for text in texts for word in _WORD.findall(text))
    words = [([LETTERS[b] for b in word.encode()], n) for word, n in counts.items()]
    pairs: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)
    for index, (parts, number) in enumerate(words):
        for pair in zip(parts, parts[1:], strict=False):
            pairs[pair] += number
            where[pair].add(index)
    merges: list[Pair] = []
    while len(merges) < size - 257 and pairs:
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        if pairs[best] < 2:
            break
        merges.append(best)
        for index in where.pop(best):
            parts, number = words[index]
            for pair in zip(parts, parts[1:], strict=False):
                pairs[pair] -= number
            merged = _merge(parts, best)
            for pair in zip(merged, merged[1:], strict=False):
                pairs[pair] += number
                where[pair].add(index)
            words[index] = (merged, number)
        del pairs[best]
    return merges


def _merge(parts: list[str], pair: Pair) -> list[str]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return merged


class Bpe:
    """Text to ids and back by learnt merges."""

    def __init__(self, merges: list[Pair]) -> None:
        self.merges = merges
        tokens = [*LETTERS.values(), *(a + b for a, b in merges), END]
        self.ids = {token: number for number, token in enumerate(tokens)}
        self.end_id = self.ids[END]
        self._tokens = tokens
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._seen: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[int]:
        """Ids of a text; the end of text inside it is ordinary text."""
        return [number for word in _WORD.findall(text) for number in self._word(word)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8 become replacement characters."""
        bytes_of = {letter: byte for byte, letter in LETTERS.items()}
        letters = "".join(self._tokens[number] for number in ids if number != self.end_id)
        return bytes(bytes_of[letter] for letter in letters).decode(errors="replace")

    def _word(self, word: str) -> list[int]:
        if word not in self._seen:
            parts = [LETTERS[byte] for byte in word.encode()]
            while True:
                known = [p for p in zip(parts, parts[1:], strict=False) if p in self._ranks]
                if not known:
                    break
                parts = _merge(parts, min(known, key=self._ranks.__getitem__))
            self._seen[word] = [self.ids[part] for part in parts]
        return self._seen[word]

    def save(self, folder: Path) -> None:
        """Write vocab.json and merges.txt as Hugging Face reads them."""
        vocab = json.dumps(self.ids, ensure_ascii=False, separators=(",", ":"))
        (folder / "vocab.json").write_text(vocab + "\n", encoding="utf-8")
        lines = ["#version: 0.2", *(f"{a} {b}" for a, b in self.merges)]
        (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Bpe:
        """Read merges.txt; the vocabulary follows from it."""
        lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")[1:]
        pairs = [line.split(" ") for line in lines if line]
        return cls([(first, second) for first, second in pairs])
