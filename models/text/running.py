"""One request at work: which tokens the network must see next, and what its stream is told.

What it is not: the order of requests (engine.py), or the choice of a token (sampling.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from models.text.base import Tokenizer
from models.text.decoding import LONGEST_CHARACTER_BYTES, StopFinder, TextDecoder, label
from models.text.request import Finish, TextPiece, TextRequest, TextStream, TokenLogprob
from models.text.sampling import Choice, Chooser, Row, logprobs_of

Top = tuple[tuple[int, float], ...]


class Output:
    """Turns chosen tokens into pieces of text."""

    def __init__(self, request: TextRequest, tokenizer: Tokenizer) -> None:
        self._request = request
        self._tokenizer = tokenizer
        self._decoder = TextDecoder()
        self._stops = StopFinder(request.stop)
        self._entries: deque[TokenLogprob] = deque()
        self._ready = ""
        self._shown = 0
        self._length = 0
        if not request.echo:
            self._pass_prompt()

    @property
    def stopped(self) -> bool:
        """Whether a stop string came."""
        return self._stops.found

    def echo(self, scores: Sequence[tuple[float, Top]]) -> None:
        """Put the prompt first; `scores` are those of its last tokens."""
        unknown = len(self._request.prompt_ids) - len(scores)
        for index, token_id in enumerate(self._request.prompt_ids):
            known = scores[index - unknown] if index >= unknown else (None, ())
            self._ready += self._decode(Choice(token_id, *known))

    def add(self, choice: Choice) -> None:
        """One more token."""
        self._ready += self._stops.feed(self._decode(choice))

    def end(self) -> None:
        """No token comes any more: show what was held back."""
        if not self._stops.found:
            self._ready += self._stops.feed(self._decoder.end()) + self._stops.end()

    def take(self, tokens: int) -> TextPiece | None:
        """What can be told by now; None when there is nothing, or a single piece was asked for."""
        if not self._request.stream:
            return None
        piece = self._piece(TextPiece("", tokens), everything=False)
        return piece if piece.text or piece.logprobs else None

    def last(self, tokens: int, finish: Finish, error: str = "") -> TextPiece:
        """The piece that ends the stream."""
        return self._piece(
            TextPiece("", tokens, finish, (), error), everything=not self._stops.found
        )

    def _piece(self, piece: TextPiece, *, everything: bool) -> TextPiece:
        """The piece with the text that is ready."""
        text, self._ready = self._ready, ""
        self._shown += len(text)
        return replace(piece, text=text, logprobs=self._told(everything=everything))

    def _told(self, *, everything: bool) -> tuple[TokenLogprob, ...]:
        """Entries of the tokens whose text was shown."""
        told = []
        while self._entries and (everything or self._entries[0].offset < self._shown):
            told.append(self._entries.popleft())
        return tuple(told)

    def _decode(self, choice: Choice) -> str:
        data = self._tokenizer.token_bytes(choice.token_id)
        text = self._decoder.feed(data)
        if self._request.logprobs is not None:
            self._entries.append(self._entry(choice, data))
        self._length += len(text)
        return text

    def _entry(self, choice: Choice, data: bytes) -> TokenLogprob:
        top = list(choice.top)
        if choice.logprob is not None and all(token != choice.token_id for token, _ in top):
            top.append((choice.token_id, choice.logprob))
        shown = tuple((label(self._tokenizer.token_bytes(token)), value) for token, value in top)
        return TokenLogprob(choice.token_id, label(data), self._length, choice.logprob, shown)

    def _pass_prompt(self) -> None:
        """Let the decoder see how the prompt ends: its last character may not be whole yet."""
        last = self._request.prompt_ids[-LONGEST_CHARACTER_BYTES:]
        data = b"".join(self._tokenizer.token_bytes(token_id) for token_id in last)
        self._decoder.feed(data[-LONGEST_CHARACTER_BYTES:])


@dataclass(frozen=True)
class Limits:
    """What a request must know of its model."""

    block_size: int
    eos_id: int | None


class Running:
    """A request from the queue to its last token. `slot` is -1 while it waits.

    `window` holds the tokens that the network sees, of which the first `filled` are in the cache.
    `since_s` is when the request came, `due_s` when its present prefill became due.
    """

    def __init__(
        self, request: TextRequest, stream: TextStream, tokenizer: Tokenizer, limits: Limits
    ) -> None:
        self.request = request
        self.stream = stream
        self.chooser = Chooser(request)
        self.slot = -1
        self.filled = 0
        self.made = 0
        self.since_s = 0.0
        self.due_s = 0.0
        self.done = False
        self._limits = limits
        self._output = Output(request, tokenizer)
        prompt = list(request.prompt_ids) or [limits.eos_id or 0]
        self.window = prompt[-limits.block_size :]
        self.scoring = request.echo and request.logprobs is not None
        self._scores: list[tuple[float, Top]] = []
        self._echoes = request.echo
        eos = set() if request.ignore_eos or limits.eos_id is None else {limits.eos_id}
        self._stop_ids = request.stop_ids | eos

    @property
    def pending(self) -> int:
        """Tokens that the network has not seen; a choice is due when there are none."""
        return len(self.window) - self.filled

    @property
    def decodes(self) -> bool:
        """Whether it needs just one decoding step, beside others."""
        return self.pending == 1 and not self.scoring

    def chunk(self, size: int) -> list[int]:
        """The next tokens to be prefilled."""
        return self.window[self.filled : self.filled + size]

    def score(self, rows: Row) -> None:
        """Keep the log-probabilities of prompt tokens. `rows` [n, vocab]: after each token of the
        chunk that begins at `filled`.
        """
        targets = self.window[self.filled + 1 : self.filled + 1 + len(rows)]
        for row, target in zip(rows, targets, strict=False):
            self._scores.append(logprobs_of(row, target, self.request.logprobs or 0))

    def wrote(self, count: int) -> None:
        """`count` more tokens are in the cache."""
        self.filled += count
        if self.pending == 0:
            self.scoring = False

    def accept(self, choice: Choice) -> Finish | None:
        """Take the next token; says when the text ends with it."""
        self._begin()
        self.made += 1
        self.chooser.say(choice.token_id)
        if choice.token_id in self._stop_ids:
            return Finish.STOP
        self._output.add(choice)
        if self._output.stopped:
            return Finish.STOP
        if self.made >= self.request.max_tokens:
            return Finish.LENGTH
        self._extend(choice.token_id)
        return None

    def tell(self) -> None:
        """Hand what can be shown to the stream."""
        piece = self._output.take(self.made)
        if piece is not None:
            self.stream.put(piece)

    def end(self, finish: Finish, error: str = "") -> None:
        """Hand over the last piece."""
        self.done = True
        if finish is not Finish.ERROR:
            self._begin()
            self._output.end()
        self.stream.put(self._output.last(self.made, finish, error))

    def _begin(self) -> None:
        if self._echoes:
            self._echoes = False
            self._output.echo(self._scores)

    def _extend(self, token_id: int) -> None:
        """Append a token. A full block slides: what is kept is prefilled anew, from position 0."""
        self.window.append(token_id)
        block = self._limits.block_size
        if len(self.window) > block:
            keep = block if self.request.exact_window else max(1, block // 2)
            self.window = self.window[-keep:]
            self.filled = 0
            self.due_s = time.monotonic()
