"""The catalogue agrees with the code and the files that ship."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from models.catalog import ENTRIES, ModelEntry, ModelKind
from models.registry import ASSETS, damage


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
