"""The files of models: where they lie, whether they are there, whether they are what was published.

What it is not: the list of files (catalog.py), loading (registry.py) or fetching
(scripts/download_models.py). Imports nothing heavy, so that routes may ask at any time.

A file that ships with the code must be what the catalogue says. A user's file may be another one
under a published name (trained further, or in another precision): it is loaded as it is, and its
loader says what is wrong with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from models.catalog import ASSETS, ENTRIES, RESOURCES, ModelEntry, ModelFile

ROOT = Path(__file__).resolve().parent.parent
_CHUNK_BYTES = 1024 * 1024


def locate(file: ModelFile, weights_dir: Path) -> Path:
    """Where a file lies: `path`, else the first match of its other names, else where `path` would
    be.
    """
    path = _under(file.path, weights_dir)
    if path.is_file():
        return path
    return next(_matches(file, weights_dir), path)


def _matches(file: ModelFile, weights_dir: Path) -> Iterator[Path]:
    for pattern in file.others:
        whole = _under(pattern, weights_dir)
        yield from sorted(path for path in whole.parent.glob(whole.name) if path.is_file())


def _under(path: str, weights_dir: Path) -> Path:
    return ROOT / path if path.startswith((ASSETS, RESOURCES)) else weights_dir / path


def damage(file: ModelFile, weights_dir: Path) -> str:
    """What keeps a file from being loaded, without a remedy; empty when nothing does."""
    path = locate(file, weights_dir)
    if not path.is_file():
        names = dict.fromkeys(Path(pattern).name for pattern in file.others)
        more = f" (nor is there any {' or '.join(names)})" if names else ""
        return f"{path.name} is missing in {path.parent}{more}"
    return difference(file, weights_dir) if file.path.startswith(ASSETS) else ""


def difference(file: ModelFile, weights_dir: Path) -> str:
    """How a file that is there differs from the one of the catalogue; empty when it does not, when
    it has one of the other names, or where its checksum is not known. Reads the file.
    """
    path = locate(file, weights_dir)
    if path != _under(file.path, weights_dir) or not file.sha256:
        return ""
    size = path.stat().st_size
    if size != file.size_bytes:
        return f"{path.name} in {path.parent} has {size} bytes, should have {file.size_bytes}"
    found = sha256(path)
    if found != file.sha256:
        return f"{path.name} in {path.parent} has sha256 {found}, should have {file.sha256}"
    return ""


def sha256(path: Path) -> str:
    """The checksum of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as data:
        while block := data.read(_CHUNK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def family(entry: ModelEntry, entries: Iterable[ModelEntry] = ENTRIES) -> list[ModelEntry]:
    """The model and those that it needs."""
    named = {other.name: other for other in entries}
    return [entry, *(named[name] for name in entry.needs if name in named)]


def lacking(entry: ModelEntry, weights_dir: Path, entries: Iterable[ModelEntry] = ENTRIES) -> str:
    """Why a model cannot be loaded for want of files, and what to do; empty when all are there.

    Looks at names only, but for files that ship with the code.
    """
    for each in family(entry, entries):
        for file in each.files:
            wrong = damage(file, weights_dir)
            if wrong:
                return f"{wrong}: {remedy(entry, file)}"
    return ""


def remedy(entry: ModelEntry, file: ModelFile) -> str:
    """What brings a file of this model."""
    if file.path.startswith(ASSETS):
        return "it ships with the code, restore it from the repository"
    if not file.url:
        return (
            f"put it there, or set WEIGHTS_DIR ({entry.source};"
            " `python -m scripts.download_models --list` says more)"
        )
    return f"`python -m scripts.download_models --only {entry.name}` gets it, or set WEIGHTS_DIR"
