"""Packages: versions and bounds."""

from __future__ import annotations

from importlib import metadata

import pytest

from scripts.doctor.checks import packages
from scripts.doctor.look import Look


@pytest.mark.parametrize(
    ("version", "bounds", "good"),
    [
        ("2.13.0", "==2.13.0", True),
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.13", "==2.13.0", True),
        ("2.13.1", "==2.13.0", False),
        ("4.14.2", ">=4.14,<5", True),
        ("5.0.0", ">=4.14,<5", False),
        ("4.10.1", ">=4.14,<5", False),
        ("1.2", "<=1.2,>1.1", True),
        ("3", "", True),
    ],
)
def test_bounds_are_kept_or_not(version: str, bounds: str, good: bool) -> None:
    assert packages.fits(version, bounds) is good


def test_a_requirements_file_is_read_without_its_remarks() -> None:
    text = "# why\n-r other.txt\nFlask==3.1  # the web\nav[all]>=1,<2 ; python_version > '3'\n"
    assert list(packages.requirements(text)) == [("flask", "==3.1"), ("av", ">=1,<2")]


def test_the_cpu_s_onnxruntime_does_for_the_gpu_s(monkeypatch: pytest.MonkeyPatch) -> None:
    real = packages.installed
    swapped = {"onnxruntime-gpu": "", "onnxruntime": "1.31.1"}
    monkeypatch.setattr(packages, "installed", lambda name: swapped.get(name, real(name)))
    assert [one.code for one in packages.check(Look("python"))] == [""]


def test_without_torch_there_is_nothing_to_compare_cuda_with(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", gone)
    assert [one.code for one in packages.check(Look("python"))] == [""]
