"""What an entry of the doctor's book is.

What it is not: the entries (entries/), or a finding on this machine (finding.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is; "not looked at" says that another finding comes first."""

    OK = "ok"
    SKIPPED = "not seen"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Entry:
    """One thing that can be wrong. `symptom`: what a person sees; `remedy`: commands or settings;
    `example`: a remedy for the page, where the check itself has to choose one.
    """

    code: str
    check: str
    level: Level
    symptom: str
    meaning: str
    remedy: str
    example: str = ""
