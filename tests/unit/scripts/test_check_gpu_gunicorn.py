"""The doctor's command line."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import check_gpu_gunicorn as program
from scripts.doctor.look import ROOT

DOCTOR = ROOT / "scripts" / "doctor"
# What runs in whatever Python there is; the checks themselves run in the server's.
STANDARD = (
    ROOT / "scripts" / "check_gpu_gunicorn.py",
    *sorted(DOCTOR.glob("*.py")),
    *sorted((DOCTOR / "entries").glob("*.py")),
)


def test_the_report_is_for_people_and_ends_with_a_summary(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert program.main(["--only", "packages"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("ok       packages   ")
    assert "Mouthpiece 0.1.0: 0 problems, 0 warnings, 0 not seen, 1 ok" in said


def test_json_is_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--json", "--only", "python,packages"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [one["check"] for one in said["findings"]] == ["python", "packages"]
    assert said["exit_code"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--no-such"], "--no-such"), (["--only", "gpus"], "no check is called 'gpus'; there are")],
)
def test_a_wrong_call_has_an_exit_code_of_its_own(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(arguments) == 3
    assert words in capsys.readouterr().err


def test_help_is_no_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(["--help"]) == 0
    assert "--quick" in capsys.readouterr().out


def test_options_of_gunicorn_stand_behind_two_dashes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    assert program.main(["--only", "gunicorn", "--", "--preload"]) == 2
    assert "preload_app=True" in capsys.readouterr().out


def test_the_interpreter_is_that_of_the_installation_or_this_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "ROOT", tmp_path)
    assert program.server_python() == sys.executable
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    own = tmp_path / ".venv" / "bin" / "python"
    own.symlink_to("/nonexistent")
    assert program.server_python() == str(own)


def test_it_needs_the_standard_library_only() -> None:
    line = [sys.executable, "-S", "-E", str(STANDARD[0]), "--only", "memory,packages"]
    ran = subprocess.run(
        [*line, "--python", sys.executable], capture_output=True, text=True, check=False
    )
    assert "packages   23 of" in ran.stdout or "are there" in ran.stdout, ran.stderr
    assert ran.stderr == ""


@pytest.mark.parametrize("path", STANDARD, ids=lambda path: path.name)
def test_older_pythons_can_read_it_and_say_that_they_are_too_old(path: Path) -> None:
    tree = ast.parse(path.read_text(), feature_version=(3, 9))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= {*sys.stdlib_module_names, "scripts"}
