"""Model files: are those that the settings name there and whole?

What it is not: a load of them. Without --quick every published file is read and its checksum
compared; with it, sizes only for large ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from models.catalog import ASSETS, ENTRIES, ModelEntry, ModelFile
from models.files import damage, difference, family, locate, remedy
from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import Look
from server.lineup import Lineup, line_up
from server.settings import Settings, load_settings, split_checkpoints

_LARGE_BYTES = 64 * 1024**2
_HEAD_BYTES = 64
_POINTER = b"version https://git-lfs"
_PAGES = (b"<!doctype", b"<html", b'<?xml version="1.0" encoding="utf-8"?><error')


def check(look: Look) -> Iterator[str | Finding]:
    """Look at every file of the catalogue, and at the text models' paths."""
    settings = load_settings()
    lineup = line_up(settings)
    for entry in ENTRIES:
        yield entry.name
        yield from _entry(entry, settings, lineup, look)
    yield from checkpoints(settings)
    ready = [entry.name for entry in ENTRIES if _complete(entry, settings.weights_dir)]
    where = settings.weights_dir
    yield nice(f"{', '.join(ready)} are there ({where}{'' if where.is_dir() else ', not there'})")


def _complete(entry: ModelEntry, weights: Path) -> bool:
    return not any(damage(file, weights) for each in family(entry) for file in each.files)


def _entry(entry: ModelEntry, settings: Settings, lineup: Lineup, look: Look) -> Iterator[Finding]:
    used = {each for name in (*lineup.detectors, *lineup.lipsync) for each in _family(name)}
    for file in entry.files:
        path = locate(file, settings.weights_dir)
        if not path.is_file():
            if entry.name in used or file.path.startswith(ASSETS):
                text = f"{entry.name}: {damage(file, settings.weights_dir)}"
                yield found("model-missing", text, remedy=remedy(entry, file))
        elif no_model(path):
            text = f"{entry.name}: {path} is {no_model(path)}"
            yield found("model-no-model", text, remedy=remedy(entry, file))
        elif wrong := _wrong(file, path, settings.weights_dir, quick=look.quick):
            code = "model-damaged" if file.path.startswith(ASSETS) else "model-differs"
            yield found(code, f"{entry.name}: {wrong}", python=look.python, model=entry.name)


def _family(name: str) -> list[str]:
    return [each.name for entry in ENTRIES if entry.name == name for each in family(entry)]


def _wrong(file: ModelFile, path: Path, weights: Path, *, quick: bool) -> str:
    size = path.stat().st_size
    if quick and size > _LARGE_BYTES and size == file.size_bytes:
        return ""  # its checksum takes seconds
    return difference(file, weights)


def no_model(path: Path) -> str:
    """What a file is that was saved instead of a model; empty when it may be one."""
    with path.open("rb") as data:
        head = data.read(_HEAD_BYTES).lower()
    if not head:
        return "empty"
    if path.suffix in (".json", ".txt"):
        return ""
    if head.startswith(_POINTER):
        return "a Git LFS pointer"
    return "a web page" if head.lstrip().startswith(_PAGES) else ""


def checkpoints(settings: Settings) -> Iterator[Finding]:
    """The paths that text models are to be read from."""
    named: list[tuple[str, Path | None]] = [
        ("MODEL_CHECKPOINT", settings.model_checkpoint),
        ("TOKENIZER", settings.tokenizer),
        *(("MODEL_CHECKPOINTS", path) for _, path in split_checkpoints(settings.model_checkpoints)),
    ]
    for setting, path in named:
        if path is not None and not path.exists():
            text = f"{setting} names {path}, which is not there"
            yield found("checkpoint-missing", text, setting=setting, path=path)
