"""The ward: whatever a check does to its process is a finding."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from scripts.doctor.entry import Level
from scripts.doctor.finding import Finding
from scripts.doctor.look import Look
from scripts.doctor.plan import Check
from scripts.doctor.ward import Ward


class Patient(Check):
    """A check whose code is tests/unit/scripts/doctor/patients.py."""

    @property
    def target(self) -> str:
        return "tests.unit.scripts.doctor.patients"


@pytest.fixture
def ward() -> Iterator[Ward]:
    with Ward(sys.executable) as made:
        yield made


def make(ward: Ward, what: str, *, fresh: bool = False, timeout_s: float = 20.0) -> list[Finding]:
    return ward.make(
        Patient("patient", fresh=fresh, timeout_s=timeout_s), Look(sys.executable, "", (what, "x"))
    )


def test_ordinary_checks_share_a_process_and_fresh_ones_do_not(ward: Ward) -> None:
    first, second = make(ward, "good")[0], make(ward, "good")[0]
    alone = make(ward, "good", fresh=True)[0]
    assert first == second
    assert first.facts == {"quick": False, "more": ["x"]}
    assert alone.text.startswith("pid ")
    assert alone.text != first.text


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("crash", "the check of patient, at step crash, crashed: SIGABRT: it hurts"),
        ("leave", "at step leave, crashed: exit code 4"),
    ],
)
def test_a_crash_is_a_finding_and_the_next_check_is_made(ward: Ward, what: str, words: str) -> None:
    (finding,) = make(ward, what)
    assert finding.code == "check-crashed"
    assert words in finding.text
    assert make(ward, "good")[0].level is Level.OK


def ends(pid: int, within_s: float = 5.0) -> bool:
    """Whether a process that was killed goes; the kernel takes a moment."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def test_a_hang_is_a_finding_and_all_that_was_started_is_ended(ward: Ward) -> None:
    started, finding = make(ward, "hang", timeout_s=2)
    assert finding.code == "check-hung"
    assert "did not end within 2 s" in finding.text
    assert "--only patient" in finding.remedy
    pid = int(started.text)
    assert ends(pid)
    assert make(ward, "good")[0].level is Level.OK


def test_an_error_of_a_check_is_a_warning_and_a_missing_package_is_told(ward: Ward) -> None:
    assert make(ward, "raise")[0].code == "check-failed"
    assert "RuntimeError: quite broken" in make(ward, "raise")[0].text
    (missing,) = make(ward, "import")
    assert missing.level is Level.SKIPPED
    assert "No module named 'flask'" in missing.text


def test_a_child_that_cannot_be_started_is_a_finding(tmp_path: Path) -> None:
    with Ward(str(tmp_path / "none")) as ward:
        (finding,) = make(ward, "good")
    assert finding.code == "check-crashed"
    assert "could not be started" in finding.text


def test_a_child_that_ends_before_it_is_asked_is_a_finding() -> None:
    with Ward("/bin/true") as ward:
        (finding,) = make(ward, "good")
    assert "exit code 0" in finding.text
