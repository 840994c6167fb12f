"""Loads text models and puts their engines on the lane: those configured during the boot, those on
demand from a thread of its own when first asked for.

What it is not: file formats (models/text). Importing torch takes two seconds and 200 MB, so it is
done here, at the first load, and not before.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from models.lane import Engine, Lane
from models.text import story
from models.text.base import Precision, TextError
from runtime.interpreter import share
from server.settings import Settings, TextDtype
from server.texts import Served, Source, Texts

# Below this size threads wait for each other longer than they work.
_LARGE_PARAMETERS = 20_000_000
_LOOK_S = 0.1
# Request threads beside those of the streams: for other routes.
_SPARE_THREADS = 8

_log = structlog.get_logger("server.textload")


@dataclass(frozen=True)
class TextBench:
    """What a text model is opened with. `busy`: whether jobs use the cores now."""

    settings: Settings
    device: str
    lane: Lane
    busy: Callable[[], bool] = lambda: False


Opener = Callable[[Source, TextBench], Served]


def precision_of(dtype: TextDtype, device: str) -> Precision:
    """The precision that a setting means on a device."""
    if dtype is TextDtype.AUTO:
        return Precision.FP32 if device == "cpu" else Precision.BF16
    return Precision(dtype.value)


class ThreadedEngine:
    """An engine of the lane that sets how many threads torch uses, before each step that needs
    another number.

    A step's threads meet after every operation. Where jobs hold the cores, each meeting waits for a
    thread that is not running: two threads then took ten to a hundred times as long as one.
    """

    def __init__(self, inner: Engine, threads: Callable[[], int]) -> None:
        self.name, self.priority, self.max_batch = inner.name, inner.priority, inner.max_batch
        self._inner = inner
        self._threads = threads
        self._count = 1
        self._looked_s = float("-inf")

    def run(self, items: Sequence[Any]) -> Sequence[Any]:
        """What the inner engine makes of them."""
        now = time.monotonic()
        if now - self._looked_s >= _LOOK_S:
            self._looked_s = now
            self._count = self._threads()
        set_threads(self._count)  # the lane's thread serves other models, too
        return self._inner.run(items)


def too_few_threads(settings: Settings) -> str:
    """What to say when streams can hold every request thread before every slot has a text; "" when
    they cannot.
    """
    held, slots = settings.gunicorn_threads, settings.text_slots
    if settings.gunicorn_worker_class != "gthread" or held >= slots:
        return ""
    return (
        f"GUNICORN_THREADS={held} is less than TEXT_SLOTS={slots}: each stream holds a request "
        f"thread, so {held} streams make every other request wait without an answer; "
        f"GUNICORN_THREADS={slots + _SPARE_THREADS} lets all slots be used"
    )


def set_threads(count: int) -> None:
    """Let torch use so many threads for what this thread asks of it."""
    import torch

    if torch.get_num_threads() != count:
        torch.set_num_threads(count)


def threads_for(bench: TextBench, parameters: int) -> int:
    """Threads for a step of a model of this size, now."""
    if bench.settings.text_threads:
        return bench.settings.text_threads
    if parameters < _LARGE_PARAMETERS or bench.busy():
        return 1
    return len(os.sched_getaffinity(0))


def open_text(source: Source, bench: TextBench) -> Served:
    """Load a checkpoint and start its engine.

    Raises:
        TextError: the files cannot be used; one clear line.
    """
    if not source.path.exists():
        raise TextError(f"{source.path} does not exist")
    if source.path == story.FOLDER and (problem := story.problem()):
        raise TextError(problem)
    from models.text.checkpoints import load_checkpoint
    from models.text.engine import StepEngine, TextEngine

    settings, lane = bench.settings, bench.lane
    precision = precision_of(settings.text_dtype, bench.device)
    model = load_checkpoint(
        source.path,
        settings.text_slots,
        precision,
        device=bench.device,
        tokenizer_path=source.tokenizer,
        name=source.name,
    )
    name = f"text:{source.name}"
    step: Engine = StepEngine(name, model.network)
    if bench.device == "cpu":
        size = int(model.about.get("parameters", 0))
        step = ThreadedEngine(step, lambda: threads_for(bench, size))
    lane.add(step)
    engine = TextEngine(model, lambda step: lane.submit(name, step), settings.text_queue)
    engine.start()
    share()
    return Served(model, engine)


class TextLoader:
    """Fills `Texts`. A model that cannot be loaded harms no other."""

    def __init__(self, texts: Texts, bench: TextBench, opener: Opener = open_text) -> None:
        self._texts = texts
        self._bench = bench
        self._open = opener
        self._sources = {source.name: source for source in texts.sources}

    def load_eager(self, going_on: Callable[[str], None]) -> None:
        """Load the configured models; `going_on` is told of each and may raise to stop."""
        configured = [source for source in self._sources.values() if source.eager]
        if configured and (warning := too_few_threads(self._bench.settings)):
            _log.warning("few request threads for streams", why=warning)
        for source in configured:
            going_on(f"loading text model {source.name}")
            self._load(source)

    def start(self) -> None:
        """Begin to load those on demand."""
        threading.Thread(target=self._serve, name="text-loader", daemon=True).start()

    def _serve(self) -> None:
        while (name := self._texts.wanted.get()) is not None:
            self._load(self._sources[name])

    def _load(self, source: Source) -> None:
        try:
            served = self._open(source, self._bench)
        except TextError as error:
            self._fail(source, str(error))
        except Exception as error:  # noqa: BLE001 - border of a model: the others must go on
            _log.exception("a text model failed", model=source.name)
            self._fail(source, f"{type(error).__name__}: {error}")
        else:
            self._texts.put(source.name, served)
            _log.info("text model", model=source.name, about=served.model.about)

    def _fail(self, source: Source, reason: str) -> None:
        _log.error("a text model cannot be loaded", model=source.name, why=reason)
        self._texts.fail(source.name, reason)
