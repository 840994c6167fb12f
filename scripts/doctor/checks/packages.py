"""Packages: are those of requirements.txt installed, in versions that fit each other?

What it is not: a test that they can be imported (imports.py). The standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import metadata

from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import ROOT, Look

_SHOWN = ("gunicorn", "torch", "onnxruntime-gpu", "onnxruntime", "av")
# Distributions that bring the same module: one will do, both are in each other's way.
_TWINS = {"onnxruntime-gpu": "onnxruntime"}
_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*([^;#]*)")
_BOUND = re.compile(r"(==|>=|<=|<|>)\s*([0-9][^,\s]*)")


def check(look: Look) -> Iterator[Finding]:
    """Compare what is installed with requirements.txt, and CUDA's packages with torch's wishes."""
    wanted = dict(requirements((ROOT / "requirements.txt").read_text(encoding="utf-8")))
    have = {name: version for name in wanted if (version := installed(name))}
    missing = [name for name in wanted if name not in have and not _twin(name)]
    if missing:
        text = f"{len(missing)} of {len(wanted)} are not installed: {', '.join(missing)}"
        yield found("package-missing", text, python=look.python)
    odd = [
        f"{name} {version} (wanted: {wanted[name]})"
        for name, version in have.items()
        if not fits(version, wanted[name])
    ]
    if odd:
        yield found("package-version", ", ".join(odd), python=look.python)
    for name, twin in _TWINS.items():
        if name in have and installed(twin):
            yield found(
                "package-clash", f"both {name} and {twin} are installed", python=look.python
            )
    yield from _cuda(look)
    shown = [f"{name} {version}" for name in _SHOWN if (version := installed(name))]
    yield nice(f"{len(have)} of {len(wanted)} are there: {', '.join(shown)}", versions=shown)


def requirements(text: str) -> Iterator[tuple[str, str]]:
    """Names and bounds of a requirements file."""
    for line in text.splitlines():
        if (known := _PIN.match(line.strip())) and line[:1].isalnum():
            yield known[1].lower(), known[2].strip()


def installed(name: str) -> str:
    """The version of a distribution; empty when it is not there."""
    try:
        return metadata.version(name) or ""
    except metadata.PackageNotFoundError:
        return ""


def _twin(name: str) -> str:
    return installed(_TWINS[name]) if name in _TWINS else ""


def fits(version: str, bounds: str) -> bool:
    """Whether a version keeps simple bounds ("==2.1", ">=4,<5"). A local part (+cpu) counts not."""
    mine = _numbers(version.partition("+")[0])
    for sign, other in _BOUND.findall(bounds):
        width = max(len(mine), len(other.split(".")))
        left, right = _padded(mine, width), _padded(_numbers(other), width)
        kept = {
            "==": left == right,
            ">=": left >= right,
            "<=": left <= right,
            "<": left < right,
            ">": left > right,
        }
        if not kept[sign]:
            return False
    return True


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version)]


def _padded(numbers: list[int], width: int) -> list[int]:
    return numbers + [0] * (width - len(numbers))


def _cuda(look: Look) -> Iterator[Finding]:
    """torch names the exact CUDA and cuDNN packages that it was built for."""
    try:
        wishes = metadata.requires("torch") or []
    except metadata.PackageNotFoundError:
        return
    for wish in wishes:
        known = _PIN.match(wish)
        if known is None or not known[1].startswith("nvidia-"):
            continue
        version = installed(known[1])
        bounds = known[2].strip(" ()")
        if version and not fits(version, bounds):
            yield found(
                "cuda-package-version",
                f"{known[1]} {version} is installed, and torch {installed('torch')} needs {bounds}",
                python=look.python,
                wanted=known[1] + bounds,
            )
