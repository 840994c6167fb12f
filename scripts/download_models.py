"""Lists the models of models/catalog.py and fetches their files into WEIGHTS_DIR.

    python -m scripts.download_models --list
    python -m scripts.download_models --only yunet,musetalk-v1.5
    python -m scripts.download_models

Without --only it fetches every file that has an address. What is there already is left alone, also
where it is not the published file (--replace fetches that one instead). A fetch that was cut off
goes on where it was. MODEL_MIRRORS names other places to look at, MODEL_MIRRORS=URL,source before
the source. Exit code: 0 all is there, 1 something is not, 2 the call is wrong.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

if not __package__:  # run as a file: make the project's packages known
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from models.catalog import ASSETS, ENTRIES, ModelEntry, ModelFile
from models.files import damage, difference, family, locate
from scripts.fetch import Fetcher, FetchError, Wanted, addresses
from server.settings import Settings, SettingsError, load_settings, split_names

_MIB = 1024**2
_UNITS = ((1024**3, "GiB"), (1024**2, "MiB"), (1024, "KiB"))
_SAY_EVERY_S = 5.0
_REDRAW_S = 0.2
Say = Callable[[str], None]


@dataclass(frozen=True)
class Tally:
    """What came of a call."""

    fetched: int = 0
    failed: int = 0


def main(arguments: Sequence[str] | None = None, fetcher: Fetcher | None = None) -> int:
    """Do what the command line says; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--list", action="store_true", help="say what there is and fetch nothing")
    parser.add_argument("--only", metavar="NAME[,NAME]", help="these models and what they need")
    parser.add_argument(
        "--replace", action="store_true", help="fetch again what is not the published file"
    )
    given = parser.parse_args(arguments)
    try:
        settings = load_settings()
        chosen = choose(split_names(given.only))
    except (SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    if given.list:
        print("\n".join(listing(chosen, settings.weights_dir)))
        return 0
    jobs = Jobs(settings, fetcher or Fetcher(), replace=given.replace)
    return jobs.run(chosen, named=bool(given.only))


def choose(names: Sequence[str]) -> list[ModelEntry]:
    """The models of these names with those that they need; all for no name.

    Raises:
        ValueError: there is no such model.
    """
    known = {entry.name: entry for entry in ENTRIES}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(f"no model is called {unknown[0]!r}; there are: {', '.join(known)}")
    wanted = [each for name in names for each in family(known[name])]
    return list(dict.fromkeys(wanted)) or list(ENTRIES)


def state(file: ModelFile, weights_dir: Path) -> str:
    """ "ready", "missing", "damaged: ..." (a file that ships with the code), "differs: ..." (a file
    of the user's under a published name).
    """
    if not locate(file, weights_dir).is_file():
        return "missing"
    if file.path.startswith(ASSETS):
        wrong = damage(file, weights_dir) or difference(file, weights_dir)
        return f"damaged: {wrong}" if wrong else "ready"
    other = difference(file, weights_dir)
    return f"differs: {other}; it is loaded as it is" if other else "ready"


def listing(entries: Sequence[ModelEntry], weights_dir: Path) -> Iterator[str]:
    """The lines of --list."""
    yield f"WEIGHTS_DIR={weights_dir}"
    for entry in entries:
        needs = f", needs {', '.join(entry.needs)}" if entry.needs else ""
        yield f"\n{entry.name} ({entry.kind.value}{needs})"
        yield f"  licence  {entry.licence}"
        yield f"  source   {entry.source}"
        if not entry.files:
            yield "  files    none: ready"
        for file in entry.files:
            yield from _about(file, weights_dir)


def _about(file: ModelFile, weights_dir: Path) -> Iterator[str]:
    size = size_text(file.size_bytes) if file.size_bytes else "size not known"
    check = f"sha256 {file.sha256}" if file.sha256 else "no checksum: checked by loading only"
    yield f"  file     {file.path}, {size}, {check}"
    if file.others:
        yield f"    or     {', '.join(dict.fromkeys(Path(name).name for name in file.others))}"
    if file.url:
        yield f"    from   {file.url}"
    elif not file.path.startswith(ASSETS):
        yield "    from   your own: put it into WEIGHTS_DIR"
    word = state(file, weights_dir)
    where = locate(file, weights_dir)
    yield f"    state  {word}" + ("" if word == "missing" else f" ({where})")


def size_text(size_bytes: int) -> str:
    """A size for people."""
    for unit, name in _UNITS:
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes} bytes"


class Bar:
    """The progress of one file: one line that changes on a terminal, else a line now and then."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._began_s = self._said_s = time.monotonic()
        self._first: int | None = None
        self._live = sys.stderr.isatty()

    def __call__(self, have: int, whole: int) -> None:
        """`have` of `whole` bytes are there."""
        now = time.monotonic()
        self._first = have if self._first is None else self._first
        if now - self._said_s < (_REDRAW_S if self._live else _SAY_EVERY_S) and have != whole:
            return
        self._said_s = now
        speed = (have - self._first) / _MIB / max(now - self._began_s, 1e-3)
        share = f"{100 * have // whole} % of {size_text(whole)}" if whole else size_text(have)
        line = f"  {self._label}: {share}, {speed:.1f} MiB/s"
        end = "\n" if have == whole or not self._live else ""
        sys.stderr.write(f"\r{line:<79}{end}" if self._live else f"{line}\n")
        sys.stderr.flush()


class Jobs:
    """Fetches the files of models that are not there."""

    def __init__(self, settings: Settings, fetcher: Fetcher, *, replace: bool) -> None:
        self._weights = settings.weights_dir
        self._mirrors = tuple(split_names(settings.model_mirrors))
        self._fetcher = fetcher
        self._replace = replace

    def run(self, entries: Sequence[ModelEntry], *, named: bool) -> int:
        """Fetch; the exit code. Files without an address fail only where models are `named`."""
        files = {file.path: (entry, file) for entry in entries for file in entry.files}
        todo = [pair for pair in files.values() if self._wanted(pair[1])]
        gettable = [pair for pair in todo if pair[1].url]
        whole = sum(file.size_bytes for _, file in gettable)
        if gettable:
            print(f"{len(gettable)} file(s), {size_text(whole)} or more, into {self._weights}")
        failed = sum(not self._fetch(entry, file) for entry, file in gettable)
        for entry, file in todo:
            if not file.url and (named or file.path.startswith(ASSETS)):
                failed += 1
                print(f"{entry.name}: {file.path} has no address: {entry.source}", file=sys.stderr)
        if not todo:
            print(f"all files are there ({self._weights})")
        return 1 if failed else 0

    def _wanted(self, file: ModelFile) -> bool:
        word = state(file, self._weights)
        if word.startswith("differs") and not self._replace:
            print(f"{file.path} {word} (--replace fetches the published file)")
            return False
        return word != "ready"

    def _fetch(self, entry: ModelEntry, file: ModelFile) -> bool:
        wanted = Wanted(
            urls=tuple(addresses(file.url, file.path, self._mirrors)),
            target=self._weights / file.path,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
        )
        print(f"{entry.name}: {file.path}")
        try:
            self._fetcher.fetch(wanted, Bar(Path(file.path).name))
        except (FetchError, OSError) as error:
            print(f"{entry.name}: {file.path} was not fetched: {error}", file=sys.stderr)
            return False
        if not file.sha256:
            print("  no checksum is known for it: its loader will check it")
        return True


if __name__ == "__main__":
    sys.exit(main())
