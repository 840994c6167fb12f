"""The registry: loads each model once per process and says how far it is.

What it is not: the list of models (catalog.py), their files (files.py), or their use on the device
(lane.py).
"""

from __future__ import annotations

import importlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.catalog import ModelEntry
from models.files import damage, difference, remedy
from runtime.sessions import ProviderError, providers_in_use


class ModelError(RuntimeError):
    """A model is unknown, missing or cannot be loaded.

    `final`: another try cannot help. `on_device`: it failed on the device asked for, and the CPU
    may do.
    """

    def __init__(self, message: str, *, final: bool = True, on_device: bool = False) -> None:
        super().__init__(message)
        self.final = final
        self.on_device = on_device


@dataclass(eq=False)
class _Shelf:
    """One model's place in the registry."""

    entry: ModelEntry
    lock: threading.Lock = field(default_factory=threading.Lock)
    status: str = ""
    model: Any = None


class Registry:
    """Models by name. Thread-safe; `loads` counts the calls of each loader."""

    def __init__(self, entries: Iterable[ModelEntry]) -> None:
        self._shelves = {entry.name: _Shelf(entry) for entry in entries}
        self.loads: Counter[str] = Counter()
        self.on_change: Callable[[], None] = lambda: None

    def load_all(self, device: str, weights_dir: Path, names: Sequence[str]) -> None:
        """Load these models, one after the other; those already loaded are left alone.

        Raises:
            ModelError: the first that cannot be loaded; the message says what to do.
        """
        for name in names:
            shelf = self._shelf(name)
            with shelf.lock:
                if shelf.status != "ready":
                    self._load(shelf, device, weights_dir)

    def get(self, name: str) -> Any:
        """A loaded model.

        Raises:
            ModelError: it is unknown or not loaded.
        """
        shelf = self._shelf(name)
        if shelf.status != "ready":
            raise ModelError(f"model {name!r} is not loaded ({shelf.status or 'not asked for'})")
        return shelf.model

    def status(self) -> dict[str, str]:
        """ "loading", "ready", "missing: ..." or "failed: ..." of each model that was asked for."""
        return {name: shelf.status for name, shelf in self._shelves.items() if shelf.status}

    @property
    def providers(self) -> tuple[str, ...]:
        """ONNX Runtime's providers of the sessions opened so far; () when it is not loaded."""
        return providers_in_use()

    def _shelf(self, name: str) -> _Shelf:
        shelf = self._shelves.get(name)
        if shelf is None:
            known = ", ".join(sorted(self._shelves)) or "none"
            raise ModelError(f"no model is called {name!r}; there are: {known}")
        return shelf

    def _load(self, shelf: _Shelf, device: str, weights_dir: Path) -> None:
        entry, name = shelf.entry, shelf.entry.name
        for file in entry.files:
            if wrong := damage(file, weights_dir):
                wrong = f"{wrong}: {remedy(entry, file)}"
                self._set(shelf, f"missing: {wrong}")
                raise ModelError(f"model {name!r}: {wrong}")
        self._set(shelf, "loading")
        self.loads[name] += 1
        try:
            shelf.model = _loader(entry.loader)(device, weights_dir)
        except Exception as error:
            why = f"{type(error).__name__}: {error}{_hint(entry, weights_dir)}"
            self._set(shelf, f"failed: {why}")
            raise ModelError(
                f"model {name!r} cannot be loaded on {device}: {why}",
                final=isinstance(error, ImportError | ProviderError),
                on_device=isinstance(error, ProviderError),
            ) from error
        self._set(shelf, "ready")

    def _set(self, shelf: _Shelf, status: str) -> None:
        shelf.status = status
        self.on_change()


def _hint(entry: ModelEntry, weights_dir: Path) -> str:
    """What a load that failed may come from: a file other than the published one."""
    for file in entry.files:
        if other := difference(file, weights_dir):
            return f" ({other}: {remedy(entry, file)})"
    return ""


def _loader(name: str) -> Callable[[str, Path], object]:
    module, _, function = name.partition(":")
    load: Callable[[str, Path], object] = getattr(importlib.import_module(module), function)
    return load
