"""A text model for tests of routes: a tokenizer of characters, and an engine whose texts are put by
hand or come at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from models.text.base import GptConfig, TextError, TextModel, Tokenizer
from models.text.request import (
    EngineStoppedError,
    Finish,
    QueueFullError,
    TextPiece,
    TextRequest,
    TextStream,
    TokenLogprob,
)
from server.texts import Served, Source, Texts

SIZE = 128


class AsciiTokenizer(Tokenizer):
    """A token for each ASCII character; id 0 ends a text."""

    size = SIZE
    eos_id = 0

    def encode(self, text: str) -> list[int]:
        for char in text:
            if ord(char) >= SIZE:
                raise TextError(f"the character {char!r} has no token")
        return [ord(char) for char in text]

    def token_bytes(self, token_id: int) -> bytes:
        return bytes([token_id])


class ScriptedEngine:
    """Gives every request the text `words`, a piece each, or what `script` makes of it."""

    def __init__(self, words: Sequence[str] = ("one", " two"), limit: int = 99) -> None:
        self.words = list(words)
        self.limit = limit
        self.requests: list[TextRequest] = []
        self.streams: list[TextStream] = []
        self.script: Callable[[TextRequest, TextStream], None] = self.write
        self.stopped = False

    def generate(self, request: TextRequest) -> TextStream:
        if self.stopped:
            raise EngineStoppedError("stopped")
        if len(self.streams) >= self.limit:
            raise QueueFullError(self.limit, self.limit)
        stream = TextStream()
        self.requests.append(request)
        self.streams.append(stream)
        self.script(request, stream)
        return stream

    def write(self, request: TextRequest, stream: TextStream) -> None:
        """All pieces at once; as many tokens as words."""
        words = self.words[: request.max_tokens] or [""]
        chances = [self.chance(request, number, word) for number, word in enumerate(words)]
        if not request.stream:
            words, chances = ["".join(words)], [sum(chances, ())]
        count = min(len(self.words), request.max_tokens)
        for number, word in enumerate(words):
            last = number == len(words) - 1
            tokens = count if last else number + 1
            finish = Finish.LENGTH if count == request.max_tokens else Finish.STOP
            stream.put(TextPiece(word, tokens, finish if last else None, chances[number]))

    @staticmethod
    def chance(request: TextRequest, number: int, word: str) -> tuple[TokenLogprob, ...]:
        if request.logprobs is None:
            return ()
        logprob = -0.5 if number else None
        top = ((word, -0.5), ("other", -1.5))[: request.logprobs]
        return (TokenLogprob(7, word, 3 * number, logprob, top),)

    def stop(self, timeout_s: float) -> None:
        self.stopped = True

    def stats(self) -> Any:
        return SimpleNamespace(active=2, waiting=1)


def served(name: str, engine: ScriptedEngine) -> Served:
    """A model of this engine."""
    network: Any = SimpleNamespace(config=GptConfig(1, 1, 8, 32, SIZE))
    return Served(TextModel(name, network, AsciiTokenizer(), 0.0, {"parameters": 8}), engine)


def texts(
    folder: Any, engine: ScriptedEngine | None = None, **others: str | ScriptedEngine
) -> Texts:
    """Texts with the default model "tale"; others by name: an engine, or why it failed."""
    names = ["tale", *others]
    made = Texts([Source(name, folder / name) for name in names])
    given: dict[str, Any] = {"tale": engine or ScriptedEngine(), **others}
    for name, what in given.items():
        if isinstance(what, str):
            made.fail(name, what)
        else:
            made.put(name, served(name, what))
    return made


def later(seconds: float, call: Callable[[], object]) -> None:
    """Call it from another thread."""
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
