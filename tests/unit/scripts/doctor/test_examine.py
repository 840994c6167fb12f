"""The order of checks, and what keeps one from being made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.doctor import examine as examining
from scripts.doctor.entry import Level
from scripts.doctor.examine import examine, interpreter
from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import Look
from scripts.doctor.plan import NAMES, PLAN, Check

LOOK = Look(sys.executable)


class FakeWard:
    """Answers by the name of the check."""

    def __init__(self, answer: Callable[[Check, Look], list[Finding]]) -> None:
        self.answer = answer

    def __call__(self, _python: str) -> FakeWard:
        return self

    def __enter__(self) -> FakeWard:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def make(self, check: Check, look: Look) -> list[Finding]:
        return self.answer(check, look)


def findings(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[Check, Look], list[Finding]], **look: Any
) -> dict[str, Finding]:
    monkeypatch.setattr(examining, "Ward", FakeWard(answer))
    return {one.check: one for one in examine(Look(sys.executable, **look))}


def test_every_check_is_made_in_order_and_learns_what_the_earlier_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learned: dict[str, dict[str, Any]] = {}

    def answer(check: Check, look: Look) -> list[Finding]:
        learned[check.name] = dict(look.facts)
        return [nice("well", **{check.name: 1})]

    made = findings(monkeypatch, answer)
    assert tuple(made) == NAMES
    assert learned["packages"] == {}
    assert list(learned["trial"]) == [check.name for check in PLAN if check.name != "trial"]


def test_what_stands_on_something_broken_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(check: Check, _look: Look) -> list[Finding]:
        return [found("settings-refused", "no")] if check.name == "settings" else [nice("well")]

    made = findings(monkeypatch, answer)
    assert made["ports"].level is Level.SKIPPED
    assert "mend settings first" in made["ports"].text
    assert made["memory"].level is Level.OK


def test_quick_leaves_out_what_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    made = findings(monkeypatch, lambda _check, _look: [nice("well")], quick=True)
    assert made["trial"].text == "left out by --quick"


def test_an_unknown_check_is_refused() -> None:
    with pytest.raises(ValueError, match="no check is called 'gpu'"):
        list(examine(LOOK, ["gpu"]))


def test_an_interpreter_that_is_too_old_or_broken_ends_the_examination(tmp_path: Path) -> None:
    old = tmp_path / "python"
    old.write_text('#!/bin/sh\necho \'[[3, 9, 2], "Linux", "/usr"]\'\n')
    old.chmod(0o755)
    (finding,) = examine(Look(str(old)), ["memory"])
    assert finding.code == "python-old"
    assert "3.9.2; 3.11 is the oldest" in finding.text
    old.write_text("#!/bin/sh\nexit 1\n")
    (finding,) = examine(Look(str(old)))
    assert finding.code == "python-broken"


def test_this_interpreter_is_good() -> None:
    assert interpreter(LOOK).level is Level.OK
