"""The book: each entry is found by a check, and the page is the book."""

from __future__ import annotations

import ast

from scripts.doctor import manual
from scripts.doctor.book import BOOK, PARTS
from scripts.doctor.entry import Level
from scripts.doctor.look import ROOT
from scripts.doctor.plan import NAMES

SOURCES = [*(ROOT / "scripts" / "doctor").rglob("*.py"), ROOT / "server" / "master.py"]


def words() -> set[str]:
    """Every string in the code of the doctor but the entries themselves."""
    return {
        node.value
        for path in SOURCES
        if path.parent.name != "entries"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_every_entry_is_found_by_some_check() -> None:
    assert set(BOOK) - words() == set()


def test_no_code_is_given_twice() -> None:
    assert len(BOOK) == sum(len(part) for part in PARTS.values())


def test_every_entry_names_a_check_and_says_what_mends_it() -> None:
    for entry in BOOK.values():
        assert entry.check in (*NAMES, "any")
        assert entry.level in (Level.WARNING, Level.PROBLEM)
        assert entry.symptom
        assert entry.meaning.endswith(".")
        assert (entry.example or entry.remedy) != "{remedy}"


def test_the_page_on_troubleshooting_is_the_book() -> None:
    assert (ROOT / "docs" / "troubleshooting.md").read_text() == manual.manual()


def test_the_page_shows_what_the_doctor_fills_in() -> None:
    assert "kill <pid>" in manual.manual()
