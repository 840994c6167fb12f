"""The report: lines, summary, exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.doctor import report
from scripts.doctor.finding import Finding, found, nice, skipped

GOOD, ODD = nice("all well"), found("shm-small", "1 MiB")
BAD = found("preload-on", "preload_app=True")


@pytest.mark.parametrize(
    ("findings", "code"),
    [([], 0), ([GOOD, skipped("no")], 0), ([GOOD, ODD], 1), ([BAD, ODD, GOOD], 2)],
)
def test_the_exit_code_is_that_of_the_worst(findings: list[Finding], code: int) -> None:
    assert report.exit_code(findings) == code


def test_what_is_wrong_comes_with_meaning_and_remedy() -> None:
    said = list(report.lines(BAD))
    assert said[0].startswith("problem ")
    assert said[1].strip().startswith("means: The app would be loaded")
    assert (
        said[2].strip() == "mend:  unset GUNICORN_PRELOAD GUNICORN_PRELOAD_APP, and leave"
        " --preload out"
    )
    assert len(list(report.lines(GOOD))) == 1


def test_the_summary_has_what_a_report_of_a_fault_needs() -> None:
    gpu = {"name": "H200", "memory_gib": 139.2, "capability": "9.0"}
    facts = nice("", gpus=[gpu], driver="580", python="3.11.7", versions=["torch 2"], system="L")
    said = "\n".join(report.summary([facts, BAD, ODD]))
    assert "1 problem, 1 warning, 0 not seen, 1 ok" in said
    for word in ("H200 (139 GiB); driver 580", "Python 3.11.7, L", "torch 2", "preload-on: pre"):
        assert word in said


def test_an_installation_without_its_project_file_has_no_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(report, "ROOT", tmp_path)
    assert report.version() == "unknown"
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert report.version() == "unknown"
