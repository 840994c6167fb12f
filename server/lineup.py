"""Which models a worker loads, from the settings and the files that are there.

What it is not: loading (boot.py). Imports nothing heavy: routes ask it before the boot has got so
far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from models.catalog import ENTRIES, ModelEntry, ModelKind
from models.files import lacking
from server.settings import Settings, SettingsError, split_names

HAAR = "haar"
VISEME = "viseme"
AUTO = "auto"
_NETWORKS = ("yunet", "scrfd")


@dataclass(frozen=True)
class Lineup:
    """Names of models. `detectors`: to be tried in order, the first that loads serves; `lipsync`:
    the default first; `landmarks` and `restorer`: "" without their files.
    """

    detectors: tuple[str, ...]
    lipsync: tuple[str, ...]
    landmarks: str = ""
    restorer: str = ""


def line_up(settings: Settings, entries: Sequence[ModelEntry] = ENTRIES) -> Lineup:
    """The models that these settings mean, with the files as they lie now.

    Raises:
        SettingsError: LIPSYNC_MODEL or LIPSYNC_MODELS names a model that does not exist.
    """
    there = _There(settings, entries)
    return Lineup(
        detectors=tuple(_detectors(settings, there)),
        lipsync=tuple(dict.fromkeys(_lipsync(settings, there))),
        landmarks=next(there.of(ModelKind.LANDMARK), ""),
        restorer=next(there.of(ModelKind.RESTORE), ""),
    )


class _There:
    """The catalogue, seen with the files that are there."""

    def __init__(self, settings: Settings, entries: Sequence[ModelEntry]) -> None:
        self._weights = settings.weights_dir
        self._entries = entries

    def of(self, kind: ModelKind) -> Iterator[str]:
        """Names of the models of a kind that lack no file."""
        for entry in self._entries:
            if entry.kind is kind and not lacking(entry, self._weights, self._entries):
                yield entry.name

    def all_of(self, kind: ModelKind) -> list[str]:
        """Names of all models of a kind."""
        return [entry.name for entry in self._entries if entry.kind is kind]


def _detectors(settings: Settings, there: _There) -> list[str]:
    if settings.face_detector != AUTO:
        return [settings.face_detector]
    found = list(there.of(ModelKind.FACE))
    return [*(name for name in _NETWORKS if name in found), HAAR]


def _lipsync(settings: Settings, there: _There) -> Iterator[str]:
    known = there.all_of(ModelKind.LIPSYNC)
    named = split_names(settings.lipsync_models)
    for setting, names in (
        ("LIPSYNC_MODEL", [settings.lipsync_model]),
        ("LIPSYNC_MODELS", [name for name in named if name != AUTO]),
    ):
        for name in names:
            if name not in known:
                have = ", ".join(known)
                raise SettingsError(
                    f"{setting}: no lip-sync model is called {name!r}; there are: {have}"
                )
    yield settings.lipsync_model
    if VISEME in known:
        yield VISEME
    for name in named:
        yield from there.of(ModelKind.LIPSYNC) if name == AUTO else [name]
