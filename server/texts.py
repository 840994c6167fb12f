"""The door between HTTP and the text engines: which text models there are and how far each is.

What it is not: loading (textload.py) or HTTP. Nothing here imports torch; a model that nobody asks
for costs nothing.
"""

from __future__ import annotations

import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from models.text import story
from models.text.base import TextModel
from server.settings import Settings, split_checkpoints

if TYPE_CHECKING:
    from models.text.request import TextRequest, TextStream

ON_DEMAND = "on demand"
LOADING = "loading"
READY = "ready"
FAILED = "failed: "
# Every training run and every download has files of these names.
_NAMELESS = {"ckpt", "model", "pytorch_model", "weights"}


class TextsError(RuntimeError):
    """A text model cannot be used now."""


class UnknownTextError(TextsError):
    """No text model has this name."""


class TextLoadingError(TextsError):
    """It is being loaded; asking again in a moment helps."""


class TextFailedError(TextsError):
    """It could not be loaded; the message says why."""


class Engine(Protocol):
    """What is asked of an engine (models/text/engine.py)."""

    def generate(self, request: TextRequest) -> TextStream:
        """Queue one text."""

    def stop(self, timeout_s: float) -> None:
        """End every text and the thread."""

    def stats(self) -> Any:
        """Figures since the start."""


@dataclass(frozen=True)
class Source:
    """A text model that may be asked for. `eager` ones are loaded before the worker is ready."""

    name: str
    path: Path
    tokenizer: Path | None = None
    eager: bool = True

    @property
    def created_at(self) -> float:
        """When the checkpoint was written, in seconds since 1970; 0 where there is none."""
        try:
            return self.path.stat().st_mtime
        except OSError:
            return 0.0


@dataclass(frozen=True, eq=False)
class Served:
    """A loaded text model and the engine that writes with it."""

    model: TextModel
    engine: Engine

    @property
    def name(self) -> str:
        """The model's public name."""
        return self.model.name


@dataclass(eq=False)
class _Place:
    source: Source
    status: str
    served: Served | None = None


def sources_of(settings: Settings) -> tuple[Source, ...]:
    """The text models that the settings name, the default one first."""
    path = settings.model_checkpoint
    named = split_checkpoints(settings.model_checkpoints)
    taken = {name for name, _ in named}
    more = [Source(name, path, settings.tokenizer) for name, path in named]
    if path is not None:
        return (Source(_free_name(_name_of(path), taken), path, settings.tokenizer), *more)
    if story.NAME in taken:
        return tuple(more)
    return (Source(story.NAME, story.FOLDER, eager=False), *more)


def _name_of(path: Path) -> str:
    """A folder's or file's name; its folder's where the file's says nothing."""
    plain = path.name if path.is_dir() else path.stem
    name = path.parent.name if plain in _NAMELESS else plain
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:64] or "text"


def _free_name(name: str, taken: set[str]) -> str:
    number = 2
    free = name
    while free in taken:
        free, number = f"{name}-{number}", number + 1
    return free


class Texts:
    """Text models by name. Thread-safe: routes ask, the loader fills in."""

    def __init__(self, sources: Sequence[Source] = ()) -> None:
        self._lock = threading.Lock()
        self._places = {
            source.name: _Place(source, LOADING if source.eager else ON_DEMAND)
            for source in sources
        }
        self.default = sources[0].name if sources else ""
        self.on_change: Callable[[], None] = lambda: None
        # Names to load, in order; None ends the loader.
        self.wanted: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    @property
    def sources(self) -> list[Source]:
        """All of them, the default one first."""
        return [place.source for place in self._places.values()]

    def statuses(self) -> dict[str, str]:
        """ "on demand", "loading", "ready" or "failed: ..." of each model."""
        return {name: place.status for name, place in self._places.items()}

    def served(self) -> list[Served]:
        """The loaded ones."""
        return [place.served for place in self._places.values() if place.served is not None]

    def find(self, name: str | None = None) -> Served:
        """A loaded model (default: the first). One on demand is asked for by this.

        Raises:
            UnknownTextError: there is none of this name.
            TextLoadingError: not yet.
            TextFailedError: it could not be loaded.
        """
        place = self._place(self.default if name is None else name)
        with self._lock:
            if place.served is not None:
                return place.served
            ask = place.status == ON_DEMAND
            if ask:
                place.status = LOADING
        if ask:
            self.wanted.put(place.source.name)
            self.on_change()
        if place.status.startswith(FAILED):
            why = place.status.removeprefix(FAILED)
            raise TextFailedError(f"model {place.source.name!r} could not be loaded: {why}")
        raise TextLoadingError(f"model {place.source.name!r} is being loaded")

    def put(self, name: str, served: Served) -> None:
        """The model is loaded."""
        with self._lock:
            place = self._place(name)
            place.served, place.status = served, READY
        self.on_change()

    def fail(self, name: str, reason: str) -> None:
        """The model cannot be loaded."""
        with self._lock:
            self._place(name).status = FAILED + reason
        self.on_change()

    def stop(self, timeout_s: float) -> None:
        """End the loader and every engine, within about `timeout_s`."""
        self.wanted.put(None)
        deadline = time.monotonic() + timeout_s
        for served in self.served():
            served.engine.stop(max(0.1, deadline - time.monotonic()))

    def _place(self, name: str) -> _Place:
        place = self._places.get(name)
        if place is None:
            known = ", ".join(self._places) or "none"
            raise UnknownTextError(f"no text model is called {name!r}; there are: {known}")
        return place
