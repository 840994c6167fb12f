"""A finding of the doctor, and the two ways to make one.

What it is not: the list of what can be found (book.py). The standard library only, and syntax that
older Pythons read: this must work where the server does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from scripts.doctor.book import BOOK
from scripts.doctor.entry import Level


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `code` names an entry of the book; it is empty when all is
    well. `facts` is for later checks and the summary.
    """

    level: Level
    text: str
    check: str = ""
    code: str = ""
    meaning: str = ""
    remedy: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            name: value.value if isinstance(value, Enum) else value
            for name, value in asdict(self).items()
        }


def read(plain: Mapping[str, Any]) -> Finding:
    """The finding that `plain` was made of."""
    return Finding(**{**plain, "level": Level(plain["level"])})


def nice(text: str, **facts: Any) -> Finding:
    """All is well."""
    return Finding(Level.OK, text, facts=facts)


def skipped(text: str) -> Finding:
    """It could not be looked at, for a reason that another finding explains."""
    return Finding(Level.SKIPPED, text)


def found(code: str, text: str, **values: object) -> Finding:
    """A finding of the book; `values` fill the places of its remedy.

    Raises:
        KeyError: the book has no such code, or the remedy has a place without a value.
    """
    entry = BOOK[code]
    remedy = entry.remedy.format(**values)
    return Finding(entry.level, text, entry.check, code, entry.meaning, remedy)
