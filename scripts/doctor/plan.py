"""What is looked at, in order; what each check stands on, and how long it may take.

What it is not: the checks (checks/) or the way they are run (examine.py, ward.py).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One check: `check(look)` in scripts/doctor/checks/<name>.py. `needs`: checks whose problems
    keep this one from being made. `fresh`: in a process of its own, because it loads native code
    or changes its process. `slow`: left out by --quick.
    """

    name: str
    needs: tuple[str, ...] = ()
    fresh: bool = False
    slow: bool = False
    timeout_s: float = 30.0

    @property
    def target(self) -> str:
        """The module that has it."""
        return f"scripts.doctor.checks.{self.name}"


PLAN = (
    Check("packages"),
    Check("imports", needs=("packages",), fresh=True, timeout_s=180.0),
    Check("settings", needs=("packages",)),
    Check("gunicorn", needs=("packages", "settings")),
    Check("driver", fresh=True),
    Check("ports", needs=("packages", "settings")),
    Check("slots", needs=("packages", "settings")),
    Check("kernel", needs=("packages", "imports", "settings"), fresh=True, timeout_s=120.0),
    Check("providers", needs=("packages", "imports", "settings"), fresh=True, timeout_s=90.0),
    Check("encoder", needs=("packages", "imports", "settings"), fresh=True, timeout_s=60.0),
    Check("weights", needs=("packages", "settings"), timeout_s=300.0),
    Check("folders", needs=("packages", "settings")),
    Check("memory"),
    Check("database", needs=("packages", "settings"), timeout_s=60.0),
    Check(
        "trial",
        needs=("packages", "imports", "settings", "gunicorn"),
        fresh=True,
        slow=True,
        timeout_s=360.0,
    ),
)
NAMES = ("python", *(check.name for check in PLAN))
