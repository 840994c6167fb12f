"""Loads text models and puts their engines on the lane: those configured during the boot, those on
demand from a thread of its own when first asked for.

What it is not: file formats (models/text). Importing torch takes two seconds and 200 MB, so it is
done here, at the first load, and not before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from models.lane import Lane
from models.text.base import Precision, TextError
from server.settings import Settings, TextDtype
from server.texts import Served, Source, Texts

_log = structlog.get_logger("server.textload")


@dataclass(frozen=True)
class TextBench:
    """What a text model is opened with."""

    settings: Settings
    device: str
    lane: Lane


Opener = Callable[[Source, TextBench], Served]


def precision_of(dtype: TextDtype, device: str) -> Precision:
    """The precision that a setting means on a device."""
    if dtype is TextDtype.AUTO:
        return Precision.FP32 if device == "cpu" else Precision.BF16
    return Precision(dtype.value)


def open_text(source: Source, bench: TextBench) -> Served:
    """Load a checkpoint and start its engine.

    Raises:
        TextError: the files cannot be used; one clear line.
    """
    if not source.path.exists():
        raise TextError(f"{source.path} does not exist")
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
    lane.add(StepEngine(name, model.network))
    engine = TextEngine(model, lambda step: lane.submit(name, step), settings.text_queue)
    engine.start()
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
        for source in self._sources.values():
            if source.eager:
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
