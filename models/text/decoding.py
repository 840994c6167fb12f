"""Bytes of tokens to text, piece by piece: characters that span tokens, and stop strings that do.

What it is not: a tokenizer (tokenizer.py).
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence

# The longest UTF-8 character: what a prompt may leave unfinished for the first new token.
LONGEST_CHARACTER_BYTES = 4


class TextDecoder:
    """UTF-8 bytes to text. However the bytes are cut, the joined text is the same as
    `bytes.decode("utf-8", "replace")` of all of them.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def feed(self, data: bytes) -> str:
        """The characters that are whole by now."""
        return self._decoder.decode(data)

    def end(self) -> str:
        """U+FFFD where the bytes end inside a character, else nothing."""
        return self._decoder.decode(b"", final=True)


class StopFinder:
    """Cuts a text before the first stop string that is complete in it, however the text is cut.

    Of several that complete at the same character the longest counts.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._longest = max((len(stop) for stop in self._stops), default=0)
        self._held = ""
        self.found = False

    def feed(self, text: str) -> str:
        """What can be shown now; the rest is held back while it may still become a stop string."""
        if not self._stops:
            return text
        if self.found:
            return ""
        text = self._held + text
        cut = self._cut(text)
        self.found = cut is not None
        if cut is None:
            cut = len(text) - self._open_tail(text)
        self._held = "" if self.found else text[cut:]
        return text[:cut]

    def end(self) -> str:
        """What was held back: no stop string came of it."""
        held, self._held = self._held, ""
        return held

    def _cut(self, text: str) -> int | None:
        """Where the stop string that completes first begins; None when there is none."""
        starts = [(text.find(stop), len(stop)) for stop in self._stops]
        ends = [(start + size, start) for start, size in starts if start >= 0]
        return min(ends)[1] if ends else None

    def _open_tail(self, text: str) -> int:
        """Characters at the end with which a stop string may begin."""
        for size in range(min(len(text), self._longest - 1), 0, -1):
            tail = text[-size:]
            if any(stop.startswith(tail) for stop in self._stops):
                return size
        return 0


def label(data: bytes) -> str:
    """A token's own text; `bytes:\\xe2\\x80` where its bytes are not whole characters."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
