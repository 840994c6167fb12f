"""The doctor's report: lines for people, JSON for programs, an exit code for scripts.

What it is not: the looking. A summary at the end has what a report of a fault needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from scripts.doctor.entry import Level
from scripts.doctor.finding import Finding
from scripts.doctor.look import ROOT

_EXIT = {Level.OK: 0, Level.SKIPPED: 0, Level.WARNING: 1, Level.PROBLEM: 2}
_MARGIN = " " * 20


def lines(finding: Finding) -> Iterable[str]:
    """A finding for people: what, and where something is wrong, what it means and what mends it."""
    yield f"{finding.level.value:<8} {finding.check:<10} {finding.text}"
    if finding.code:
        yield f"{_MARGIN}means: {finding.meaning}"
        yield f"{_MARGIN}mend:  {finding.remedy}"


def exit_code(findings: Iterable[Finding]) -> int:
    """0: all is well, 1: there are warnings, 2: there are problems."""
    return max((_EXIT[finding.level] for finding in findings), default=0)


def tally(findings: Sequence[Finding]) -> dict[str, int]:
    """How many findings there are of each level."""
    return {level.value: sum(one.level is level for one in findings) for level in Level}


def summary(findings: Sequence[Finding]) -> list[str]:
    """What to paste into a report of a fault: versions, GPUs, and what was found."""
    facts = {name: value for finding in findings for name, value in finding.facts.items()}
    counts = tally(findings)
    said = [_count(counts[level.value], level) for level in reversed(Level)]
    gpus = [f"{gpu['name']} ({gpu['memory_gib']:.0f} GiB)" for gpu in facts.get("gpus", [])]
    return [
        f"Mouthpiece {version()}: {', '.join(said)}",
        f"  system   Python {facts.get('python', 'unknown')}, {facts.get('system', 'unknown')}",
        f"  packages {', '.join(facts.get('versions', [])) or 'not seen'}",
        f"  GPUs     {', '.join(gpus) or 'none seen'}; driver {facts.get('driver', 'none')}",
        *(
            f"  {one.level.value:<8} {one.code}: {one.text}"
            for one in findings
            if one.level in (Level.WARNING, Level.PROBLEM)
        ),
    ]


def _count(number: int, level: Level) -> str:
    counted = level in (Level.WARNING, Level.PROBLEM) and number != 1
    return f"{number} {level.value}{'s' if counted else ''}"


def as_json(findings: Sequence[Finding]) -> str:
    """The whole report for programs."""
    return json.dumps(
        {
            "version": version(),
            "exit_code": exit_code(findings),
            "counts": tally(findings),
            "findings": [finding.plain() for finding in findings],
            "summary": "\n".join(summary(findings)),
        },
        indent=2,
        default=str,
    )


def version() -> str:
    """The project's version, as pyproject.toml has it."""
    try:
        text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return "unknown"
    known = re.search(r'^version = "([^"]+)"', text, flags=re.MULTILINE)
    return known[1] if known else "unknown"
