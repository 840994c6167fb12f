#!/usr/bin/env python3
"""The doctor: what is wrong with this machine, this installation and this configuration.

    scripts/check_gpu_gunicorn.py [--quick] [--json] [--only NAME[,NAME]] [-- gunicorn options]

It changes nothing, and needs no GPU, no network and no working installation: any Python runs it,
and the checks themselves run in the server's. Exit code: 0 all is well, 1 warnings, 2 problems, 3
the call is wrong. Each finding is explained in docs/troubleshooting.md.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # run as a file: make the project's packages known
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.doctor import report
from scripts.doctor.examine import examine
from scripts.doctor.finding import Finding
from scripts.doctor.look import ROOT, Look

_CALL_EXIT = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Look, and say what was found; the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        options = _parser().parse_args(_before(given))
    except SystemExit as end:  # argparse's own exit code means problems here
        return _CALL_EXIT if end.code else 0
    look = Look(
        python=options.python or server_python(),
        config=str(Path(options.config).absolute()),
        arguments=tuple(_behind(given)),
        quick=options.quick,
    )
    only = [name for name in options.only.split(",") if name]
    findings: list[Finding] = []
    try:
        for finding in examine(look, only):
            findings.append(finding)
            if not options.json:
                print("\n".join(report.lines(finding)), flush=True)
    except ValueError as error:
        print(error, file=sys.stderr)
        return _CALL_EXIT
    print(report.as_json(findings) if options.json else "\n".join(["", *report.summary(findings)]))
    return report.exit_code(findings)


def server_python() -> str:
    """The interpreter that the start script would take: that of .venv, else this one."""
    own = ROOT / ".venv" / "bin" / "python"
    return str(own) if own.is_symlink() or own.exists() else sys.executable


def _before(arguments: list[str]) -> list[str]:
    return arguments[: arguments.index("--")] if "--" in arguments else arguments


def _behind(arguments: list[str]) -> list[str]:
    return arguments[arguments.index("--") + 1 :] if "--" in arguments else []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").split("\n\n")[0],
        epilog="Exit code: 0 all is well, 1 warnings, 2 problems, 3 the call is wrong.",
        usage="%(prog)s [--quick] [--json] [--only NAME[,NAME]] [-- gunicorn options]",
    )
    parser.add_argument("--quick", action="store_true", help="leave out what takes long")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--only", metavar="NAME[,NAME]", default="", help="these checks alone")
    parser.add_argument("--python", help="the server's interpreter (default: that of .venv)")
    parser.add_argument(
        "--config", default=str(ROOT / "gunicorn.conf.py"), help="Gunicorn's configuration"
    )
    return parser


def _leave(number: int, _frame: object) -> None:
    sys.exit(128 + number)  # so that children are ended on the way out


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _leave)
    sys.exit(main())
