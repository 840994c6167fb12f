"""`python app_production.py [gunicorn options]`: the app under Gunicorn with gunicorn.conf.py.

What it is not: another configuration; every setting is in gunicorn.conf.py and the environment.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def command(arguments: list[str]) -> list[str]:
    """The command line that serves the app; works from any folder."""
    config = str(ROOT / "gunicorn.conf.py")
    return [sys.executable, "-m", "gunicorn", "-c", config, *arguments, "app_server:app"]


def main() -> None:
    """Become Gunicorn: the same process, so that signals reach the master."""
    line = command(sys.argv[1:])
    os.execv(line[0], line)  # noqa: S606 - our own interpreter, no shell


if __name__ == "__main__":
    main()
