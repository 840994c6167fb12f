"""The story model that ships: its name, where it lies, whether its files are whole.

What it is not: a format of its own (checkpoints.py reads it like any Hugging Face directory) or
its training (scripts/train_story.py).
"""

from __future__ import annotations

from pathlib import Path

from models.catalog import ENTRIES
from models.files import lacking

NAME = "story"
FOLDER = Path(__file__).resolve().parent.parent / "assets" / NAME


def problem() -> str:
    """What is wrong with a file that ships, and what to do; empty when all are whole."""
    (entry,) = (entry for entry in ENTRIES if entry.name == NAME)
    return lacking(entry, FOLDER)
