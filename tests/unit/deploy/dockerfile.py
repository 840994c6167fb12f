"""A Dockerfile as instructions, for the tests: comments dropped, continued lines joined."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PATH = ROOT / "deploy" / "docker" / "Dockerfile"
KNOWN = {
    *("ARG", "FROM", "RUN", "COPY", "ENV", "WORKDIR", "VOLUME", "EXPOSE", "USER"),
    *("STOPSIGNAL", "HEALTHCHECK", "CMD"),
}


@dataclass
class Stage:
    """What follows one FROM. `base`: what it stands on, `name`: after AS, or ""."""

    base: str
    name: str
    lines: list[tuple[str, str]] = field(default_factory=list)

    def of(self, word: str) -> list[str]:
        """The arguments of all instructions of one kind."""
        return [rest for instruction, rest in self.lines if instruction == word]


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, arguments) in order."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = [line.strip().partition(" ") for line in joined.splitlines() if line.strip()]
    return [(word.upper(), rest.strip()) for word, _, rest in pairs]


def stages(text: str) -> tuple[list[str], list[Stage]]:
    """The ARGs before the first FROM, and the stages."""
    head: list[str] = []
    found: list[Stage] = []
    for word, rest in instructions(text):
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            found.append(Stage(base, name))
        elif found:
            found[-1].lines.append((word, rest))
        else:
            head.append(rest)
    return head, found
