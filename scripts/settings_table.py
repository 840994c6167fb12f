"""Print docs/settings.md from the settings themselves.

    python -m scripts.settings_table > docs/settings.md

A test compares the file with this output, so no setting is undocumented.
"""

from __future__ import annotations

import sys
from enum import Enum
from pathlib import Path

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from server.settings import Settings

HEAD = """# Settings

All settings come from the environment, are read once at start, and are refused with their name,
value and what is allowed when they are wrong. Made by `python -m scripts.settings_table`.
`CUDA_VISIBLE_DEVICES`, when it is set, bounds the GPUs that workers may take.
`scripts/start_gpu_server.sh --diagnose` says which are set, and whether they fit this machine.

| name | default | allowed | what it does |
|---|---|---|---|
"""


def names(field: str, info: FieldInfo) -> str:
    """The environment names of a field, the first one preferred."""
    alias = info.validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias or field.upper()]
    return ", ".join(f"`{choice}`" for choice in choices)


def default(info: FieldInfo) -> str:
    """The default, as it would be written in the environment."""
    value = info.default
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Path):
        value = f"./{value}"
    if isinstance(value, bool):
        value = str(value).lower()
    return "" if value is None else f"`{value}`"


def allowed(info: FieldInfo) -> str:
    """Bounds and patterns, in words."""
    words = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "min_length": "≥ {} characters"}
    said = [
        text.format(getattr(item, key))
        for item in info.metadata
        for key, text in words.items()
        if getattr(item, key, None) is not None
    ]
    patterns = [item.pattern for item in info.metadata if getattr(item, "pattern", None)]
    said += [pattern.strip("^$()").replace("|", ", ") for pattern in patterns]
    return ", ".join(said)


def table() -> str:
    """The whole page."""
    rows = [
        f"| {names(field, info)} | {default(info)} | {allowed(info)} | {info.description} |"
        for field, info in Settings.model_fields.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
