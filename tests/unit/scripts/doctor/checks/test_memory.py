"""RAM, containers' limits, shared memory, open files."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from scripts.doctor.checks import memory
from scripts.doctor.look import Look

GIB = 1024**3


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 8 GiB free and no limits; its files may be changed."""
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable: {8 * GIB // 1024} kB\n")
    monkeypatch.setattr(memory, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "GROUPS", ((tmp_path / "max", tmp_path / "current"),))
    monkeypatch.setattr(memory, "_SHM", tmp_path)
    return tmp_path


def codes() -> list[str]:
    return [one.code for one in memory.check(Look("python"))]


def test_enough_of_all_is_well(machine: Path) -> None:
    (machine / "max").write_text("max\n")
    (machine / "current").write_text("1\n")
    assert codes() == [""]


def test_a_container_s_limit_counts_where_it_is_closer(machine: Path) -> None:
    (machine / "max").write_text(str(4 * GIB))
    (machine / "current").write_text(str(3 * GIB))
    finding = next(memory.check(Look("python")))
    assert (finding.code, finding.text) == (
        "memory-low",
        "1.0 GiB of memory are free in this container",
    )


def test_little_memory_and_few_files_are_warnings(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machine / "meminfo").write_text("MemAvailable: 1024 kB\n")
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, 4096))
    assert codes() == ["memory-low", "files-few", ""]


def test_shared_memory_that_is_not_there_is_a_warning(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_SHM", machine / "none")
    assert codes() == ["shm-small", ""]
