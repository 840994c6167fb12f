"""All that the doctor can find: its level, how people meet it, what it means, what mends it.

What it is not: the looking (checks/). docs/troubleshooting.md is made of this book (manual.py), and
a remedy's places in braces are filled by the check.
"""

from __future__ import annotations

from scripts.doctor.entries.files import FILES
from scripts.doctor.entries.gpu import GPU
from scripts.doctor.entries.install import INSTALL
from scripts.doctor.entries.start import START

#: The parts of the book, by title.
PARTS = {
    "The installation": INSTALL,
    "Settings and start": START,
    "GPUs": GPU,
    "Files, ports, memory, database": FILES,
}
BOOK = {entry.code: entry for part in PARTS.values() for entry in part}
