"""Finds promtool, Prometheus' own checker."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def promtool() -> str:
    """Its path; skips the test where it is not there (scripts/test.sh fetches it)."""
    own = ROOT / ".venv" / "bin" / "promtool"
    found = str(own) if own.is_file() else shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    return found
