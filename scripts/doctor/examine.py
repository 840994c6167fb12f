"""Makes the checks of the plan in order, each with what the earlier ones learned.

What it is not: the printing of what they found (report.py).
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from scripts.doctor.entry import Level
from scripts.doctor.finding import Finding, found, nice, skipped
from scripts.doctor.look import Look
from scripts.doctor.plan import NAMES, PLAN, Check
from scripts.doctor.ward import Ward

LEAST_PYTHON = (3, 11)
_START_S = 30.0
_ASK = (
    "import json, platform, sys; print(json.dumps([list(sys.version_info[:3]),"
    " platform.platform(), sys.prefix]))"
)
Wanted = Callable[[str], bool]


def examine(look: Look, only: Sequence[str] = ()) -> Iterator[Finding]:
    """All findings, as they come. `only`: these checks alone.

    Raises:
        ValueError: there is no check of that name.
    """
    unknown = [name for name in only if name not in NAMES]
    if unknown:
        raise ValueError(f"no check is called {unknown[0]!r}; there are: {', '.join(NAMES)}")
    wanted: Wanted = (lambda name: name in only) if only else (lambda name: True)
    python = interpreter(look)
    wrong = python.level is Level.PROBLEM
    if wanted("python") or wrong:
        yield replace(python, check="python")
    if not wrong:
        yield from _checks(look, wanted)


def _checks(look: Look, wanted: Wanted) -> Iterator[Finding]:
    bad: set[str] = set()
    with Ward(look.python) as ward:
        for check in PLAN:
            if not wanted(check.name):
                continue
            for finding in _make(ward, check, look, bad):
                if finding.level is Level.PROBLEM:
                    bad.add(check.name)
                look = replace(look, facts={**look.facts, **finding.facts})
                yield replace(finding, check=check.name)


def _make(ward: Ward, check: Check, look: Look, bad: set[str]) -> list[Finding]:
    stopping = [name for name in check.needs if name in bad]
    if stopping:
        return [skipped(f"not looked at: mend {', '.join(stopping)} first")]
    if check.slow and look.quick:
        return [skipped("left out by --quick")]
    return ward.make(check, look)


def interpreter(look: Look) -> Finding:
    """Whether the interpreter runs, and is new enough."""
    python = look.python
    try:
        ran = subprocess.run(
            [python, "-c", _ASK], capture_output=True, text=True, timeout=_START_S, check=True
        )
        version, system, prefix = json.loads(ran.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return found("python-broken", f"{python} does not run: {error}")
    name = ".".join(str(part) for part in version)
    if tuple(version[:2]) < LEAST_PYTHON:
        return found("python-old", f"{python} is Python {name}; 3.11 is the oldest that works")
    where = Path(prefix).name if Path(prefix) == Path("/usr") else prefix
    return nice(f"{name} in {where}, {system}", python=name, system=system)
