"""Gunicorn: what is in force once file, environment and command line have had their say.

What it is not: a start (trial.py). What the master refuses is asked of server/master.py itself.
"""

from __future__ import annotations

import ast
import contextlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gunicorn.app.wsgiapp import WSGIApplication

from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import Look
from server.master import OUR_GEVENT, get_master, refusals
from server.settings import Settings, load_settings, visible_devices

_LEAST_TIMEOUT_S = 30
_MOST_KEEPALIVE_S = 75


class ConfigError(Exception):
    """Gunicorn does not take the configuration; the text is what it says."""


def check(look: Look) -> Iterator[Finding]:
    """Load the configuration as Gunicorn does, and look for its traps."""
    try:
        cfg = configuration(look)
    except ConfigError as error:
        text = str(error)
        yield found("gunicorn-args" if "usage:" in text else "gunicorn-config", _last(text))
        return
    settings = load_settings()
    slots = get_master(settings, visible_devices()).slots
    for code, text in refusals(cfg, slots):
        yield found(code, text, slots=len(slots))
    yield from traps(cfg, settings)
    for name in ignored(Path(look.config), set(cfg.settings)):
        yield found(
            "config-name-ignored",
            f"{name} in gunicorn.conf.py is no setting of Gunicorn",
            name=name,
        )
    chosen = cfg.settings["worker_class"].get()
    kind = "gevent with native threads" if chosen == OUR_GEVENT else str(chosen)
    yield nice(
        f"{cfg.workers} worker(s) for {len(slots)} slot(s), {kind}, {cfg.threads} threads,"
        f" timeout {cfg.timeout} s, preload {'on' if cfg.preload_app else 'off'},"
        f" max_requests {cfg.max_requests}"
    )


def configuration(look: Look) -> Any:
    """Gunicorn's Config, made as the gunicorn program makes it.

    Raises:
        ConfigError: Gunicorn refuses it.
    """
    said = io.StringIO()
    before = sys.argv
    sys.argv = ["gunicorn", "-c", look.config, *look.arguments, "app_server:app"]
    try:
        with contextlib.redirect_stderr(said):
            return WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]").cfg
    except SystemExit as end:
        raise ConfigError(said.getvalue() or f"it ends with exit code {end.code}") from None
    finally:
        sys.argv = before


def traps(cfg: Any, settings: Settings) -> Iterator[Finding]:
    """What is allowed and hardly ever meant."""
    rules: tuple[tuple[str, bool, Callable[[], str]], ...] = (
        ("max-requests", cfg.max_requests > 0, lambda: f"max_requests={cfg.max_requests}"),
        ("timeout-short", cfg.timeout < _LEAST_TIMEOUT_S, lambda: f"timeout={cfg.timeout}"),
        (
            "threads-few",
            cfg.threads <= settings.max_event_streams,
            lambda: f"{cfg.threads} threads for MAX_EVENT_STREAMS={settings.max_event_streams}",
        ),
        ("keepalive-long", cfg.keepalive > _MOST_KEEPALIVE_S, lambda: f"keepalive={cfg.keepalive}"),
        ("reload-on", bool(cfg.reload), lambda: "reload=True"),
        (
            "bind-differs",
            settings.bind not in cfg.bind,
            lambda: f"Gunicorn binds {', '.join(cfg.bind)}, and HOST and PORT say {settings.bind}",
        ),
    )
    for code, met, text in rules:
        if met:
            yield found(code, text())


def ignored(config: Path, known: set[str]) -> list[str]:
    """Names that a configuration file sets and nobody reads: Gunicorn passes over unknown ones."""
    tree = ast.parse(config.read_text(encoding="utf-8"))
    used = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    targets = [
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    ]
    return [name for name in targets if name not in known | used and not name.startswith("_")]


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it cannot be loaded"
