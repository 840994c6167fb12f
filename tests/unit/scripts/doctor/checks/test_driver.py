"""The driver: what is there without it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from scripts.doctor.checks import driver
from scripts.doctor.look import Look


def gone(name: str) -> Any:
    raise OSError(f"{name}: cannot open shared object file")


def test_a_card_without_its_driver_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", gone)
    monkeypatch.setattr(driver, "nvidia_cards", lambda: ["PCI device 0000:01:00.0"])
    (finding,) = driver.check(Look("python"))
    assert finding.code == "driver-missing"
    assert finding.text.startswith("PCI device 0000:01:00.0 is there, and libcuda.so.1 is not")


def test_a_machine_without_a_card_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", gone)
    monkeypatch.setattr(driver, "nvidia_cards", list)
    (finding,) = driver.check(Look("python"))
    assert finding.facts == {"cuda_devices": 0}


def test_cards_are_found_on_the_pci_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, kind, vendor in (("a", "0x030200", "0x10de"), ("b", "0x040300", "0x10de")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "class").write_text(f"{kind}\n")
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
    real = Path.glob

    def glob(self: Path, pattern: str) -> Any:
        if str(self).startswith("/sys"):
            return real(tmp_path, pattern)
        return iter([Path("/dev/nvidia0")] if str(self) == "/dev" else real(self, pattern))

    monkeypatch.setattr(Path, "glob", glob)
    assert driver.nvidia_cards() == ["/dev/nvidia0", "PCI device a"]


def test_every_answer_of_the_driver_that_is_known_has_a_remedy() -> None:
    assert all(why and remedy for why, remedy in driver.ANSWERS.values())


def test_a_function_that_is_not_there_gives_no_number() -> None:
    assert driver._number(ctypes.CDLL(None), "no_such_function") == 0
