"""The catalogue agrees with the code and the files that ship."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

from models.catalog import ASSETS, ENTRIES, ModelEntry, ModelKind
from models.files import damage


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_loader_exists_and_takes_device_and_weights_dir(entry: ModelEntry) -> None:
    if entry.kind is ModelKind.TEXT:
        assert entry.loader == ""
        return
    module, _, function = entry.loader.partition(":")
    load = getattr(importlib.import_module(module), function)
    assert list(inspect.signature(load).parameters)[:2] == ["device", "weights_dir"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_files_that_ship_are_whole(entry: ModelEntry) -> None:
    for file in entry.files:
        if file.path.startswith(ASSETS):
            assert damage(file, Path("none")) == ""


def test_default_models_need_no_file_of_the_user_s() -> None:
    for entry in ENTRIES:
        if entry.default:
            assert all(file.path.startswith(ASSETS) for file in entry.files)


def test_names_are_unique_and_licences_and_sources_are_said() -> None:
    names = [entry.name for entry in ENTRIES]
    assert len(set(names)) == len(names)
    assert all(entry.licence and entry.source for entry in ENTRIES)


def test_what_a_model_needs_is_in_the_catalogue() -> None:
    names = {entry.name for entry in ENTRIES}
    assert {name for entry in ENTRIES for name in entry.needs} <= names


def test_a_file_with_a_checksum_has_a_size_and_one_to_fetch_an_address() -> None:
    for file in (file for entry in ENTRIES for file in entry.files):
        assert bool(file.sha256) == bool(file.size_bytes), file.path
        assert re.fullmatch(r"([0-9a-f]{64})?", file.sha256), file.path
        assert file.url == "" or file.url.startswith("https://"), file.path
        if file.path.startswith(ASSETS):
            assert file.sha256
