"""The child's side of a check: reads what to do from stdin, answers with JSON lines on stdout.

What it is not: started by people. What a check or a library prints goes to stderr, so that it never
mixes with the answers.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if not __package__:  # started as a file: the project first, and not this folder
    sys.path[0] = str(Path(__file__).resolve().parent.parent.parent)

from scripts.doctor import look as looks
from scripts.doctor.finding import Finding, found, skipped

Answer = Callable[[Any], None]


def main() -> None:
    """Make checks until stdin ends."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as out:
        os.dup2(2, 1)

        def answer(message: Any) -> None:
            out.write(json.dumps(message, default=str) + "\n")
            out.flush()

        for line in sys.stdin:
            order = json.loads(line)
            make(order["target"], looks.read(order["look"]), answer)
            answer({"end": True})


def make(target: str, look: looks.Look, answer: Answer) -> None:
    """One check; whatever goes wrong in it is a finding. Strings that it yields say where it is."""
    try:
        for step in importlib.import_module(target).check(look):
            answer({"finding": step.plain()} if isinstance(step, Finding) else {"at": step})
    except ImportError as error:
        answer({"finding": skipped(f"not looked at: {error}").plain()})
    except Exception as error:  # noqa: BLE001 - border of a process: one check must not end others
        text = f"the check itself failed: {type(error).__name__}: {error}"
        answer({"finding": found("check-failed", text).plain()})


if __name__ == "__main__":
    main()
