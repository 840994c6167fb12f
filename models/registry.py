"""The registry: loads each model once per process and says how far it is.

What it is not: the list of models (catalog.py), or their use on the device (lane.py).
"""

from __future__ import annotations

import hashlib
import importlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.catalog import ModelEntry, ModelFile
from runtime.sessions import ProviderError, providers_in_use

ASSETS = "models/assets/"
_ROOT = Path(__file__).resolve().parent.parent
# Larger files are compared by size at start; scripts/download_models.py checks their sha256.
_HASHED_BYTES = 64 * 1024 * 1024


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
        name = shelf.entry.name
        problem = next(
            (text for file in shelf.entry.files if (text := damage(file, weights_dir))), ""
        )
        if problem:
            self._set(shelf, f"missing: {problem}")
            raise ModelError(f"model {name!r}: {problem}")
        self._set(shelf, "loading")
        self.loads[name] += 1
        try:
            shelf.model = _loader(shelf.entry.loader)(device, weights_dir)
        except Exception as error:
            self._set(shelf, f"failed: {error}")
            raise ModelError(
                f"model {name!r} cannot be loaded on {device}: {type(error).__name__}: {error}",
                final=isinstance(error, ImportError | ProviderError),
                on_device=isinstance(error, ProviderError),
            ) from error
        self._set(shelf, "ready")

    def _set(self, shelf: _Shelf, status: str) -> None:
        shelf.status = status
        self.on_change()


def _loader(name: str) -> Callable[[str, Path], object]:
    module, _, function = name.partition(":")
    load: Callable[[str, Path], object] = getattr(importlib.import_module(module), function)
    return load


def locate(file: ModelFile, weights_dir: Path) -> Path:
    """Where a file of the catalogue lies."""
    return _ROOT / file.path if file.path.startswith(ASSETS) else weights_dir / file.path


def damage(file: ModelFile, weights_dir: Path) -> str:
    """What is wrong with a file, and what to do; empty when it is whole."""
    path = locate(file, weights_dir)
    remedy = (
        "it ships with the code: restore it from the repository"
        if file.path.startswith(ASSETS)
        else "fetch it with scripts/download_models.py, or set WEIGHTS_DIR"
    )
    if not path.is_file():
        return f"{path.name} is missing in {path.parent} ({remedy})"
    size = path.stat().st_size
    if size != file.size_bytes:
        return (
            f"{path.name} in {path.parent} is damaged: {size} bytes, should be {file.size_bytes}"
            f" ({remedy})"
        )
    if size <= _HASHED_BYTES:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != file.sha256:
            return (
                f"{path.name} in {path.parent} is damaged: sha256 {found}, should be {file.sha256}"
                f" ({remedy})"
            )
    return ""
