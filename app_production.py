"""`python app_production.py [gunicorn options]`: the app under Gunicorn with gunicorn.conf.py.

What it is not: another configuration; every setting is in gunicorn.conf.py and the environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def command(arguments: list[str], app: str = "app_server:app") -> list[str]:
    """The command line that serves the app; works from any folder.

    The script and not `-m gunicorn`: on SIGUSR2 Gunicorn starts itself again by its path, and as a
    module that path puts gunicorn/http before the standard library's http.
    """
    script = Path(sys.executable).parent / "gunicorn"
    gunicorn = [str(script)] if script.is_file() else ["-m", "gunicorn"]
    return [sys.executable, *gunicorn, "-c", str(ROOT / "gunicorn.conf.py"), *arguments, app]


def main() -> None:
    """Become Gunicorn: the same process, so that signals reach the master."""
    line = command(sys.argv[1:])
    os.execv(line[0], line)  # noqa: S606 - our own interpreter, no shell


if __name__ == "__main__":
    main()
