"""What a check is told: how the server would be started, and what is known so far.

What it is not: the settings (a check asks server.settings, where that can be imported).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Look:
    """`python`: the interpreter that runs the server. `arguments`: further options of Gunicorn.
    `quick`: leave out what takes long. `facts`: what earlier checks learned.
    """

    python: str
    config: str = str(ROOT / "gunicorn.conf.py")
    arguments: tuple[str, ...] = ()
    quick: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def read(plain: Mapping[str, Any]) -> Look:
    """The look that `plain` was made of."""
    return Look(**{**plain, "arguments": tuple(plain["arguments"])})
