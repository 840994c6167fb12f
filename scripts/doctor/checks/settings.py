"""Settings: are they accepted, and does the environment have names that nothing reads?

What it is not: what Gunicorn makes of them (gunicorn.py) or the GPUs (slots.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import AliasChoices

from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import Look
from server.gpuconfig import plan_gpus
from server.lineup import line_up
from server.settings import (
    Settings,
    SettingsError,
    child_environment,
    load_settings,
    visible_devices,
)
from server.slots import find_slots

_SECRETS = ("api_key", "database_url")
# Names of Gunicorn's own, and of ours between processes.
_KNOWN = {"GUNICORN_CMD_ARGS", "GUNICORN_FD", "GUNICORN_PID", "MOUTHPIECE_OPS_FD"}
_OURS = "GUNICORN_"
_ALIKE = 0.87
_LEAST_NAME = 7


def check(_look: Look) -> Iterator[Finding]:
    """Read the settings as the server does."""
    try:
        settings = load_settings()
        gpus = plan_gpus(settings, find_slots(settings, visible_devices()))
        lineup = line_up(settings)
    except SettingsError as error:
        yield found("settings-refused", " ".join(str(error).split()))
        return
    yield from unknown(child_environment())
    if settings.host in ("0.0.0.0", "::") and not settings.api_key:  # noqa: S104 - compared only
        yield found("open-to-all", f"HOST={settings.host} without API_KEY")
    models = f"faces by {' else '.join(lineup.detectors)}; lip-sync {', '.join(lineup.lipsync)}"
    yield nice(f"{gpus.workers} worker(s); {models}; {changed(settings)}")


def names() -> set[str]:
    """Every environment name that a setting has."""
    found_names: set[str] = set()
    for name, info in Settings.model_fields.items():
        alias = info.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias or name]
        found_names |= {str(choice).upper() for choice in choices}
    return found_names


def unknown(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Names in the environment that were meant for the server, by their look."""
    known = names()
    for name in sorted(environment):
        if name.upper() in known | _KNOWN or len(name) < _LEAST_NAME:
            continue
        alike = difflib.get_close_matches(name.upper(), known, 1, _ALIKE)
        if alike or name.startswith(_OURS):
            remedy = f"set {alike[0]} instead" if alike else f"unset {name}"
            yield found(
                "setting-unknown", f"{name} is in the environment; nothing reads it", remedy=remedy
            )


def changed(settings: Settings) -> str:
    """The settings that differ from their defaults; secrets are not shown."""
    said = []
    for name, info in Settings.model_fields.items():
        value: Any = getattr(settings, name)
        default = info.get_default()
        if isinstance(default, Path):
            default = default.absolute()
        if value != default:
            text = "(set, not shown)" if name in _SECRETS else str(value)
            said.append(f"{name.upper()}={text}")
    return f"set: {', '.join(said)}" if said else "all settings at their defaults"
