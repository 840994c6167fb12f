"""The documents say what is true."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from scripts import settings_table

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if not {".venv", "data", "demo"} & set(path.parts)
)


def tracked_top_level() -> set[str]:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return {name.split("/")[0] for name in names}


def test_every_setting_is_documented() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == settings_table.table()


def test_the_tree_in_the_readme_exists() -> None:
    tree = (ROOT / "README.md").read_text().split("## The tree")[1].split("```")[1]
    named = {line.split()[0].rstrip("/") for line in tree.strip().splitlines()}
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_every_folder_is_in_the_readme_tree() -> None:
    tree = (ROOT / "README.md").read_text().split("## The tree")[1].split("```")[1]
    folders = {name for name in tracked_top_level() if (ROOT / name).is_dir()} - {".ci"}
    assert {name for name in folders if f"{name}/" not in tree} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+)\)", document.read_text())
    assert [name for name in targets if not (document.parent / name).exists()] == []


def test_every_dependency_has_its_reason() -> None:
    reasons = (ROOT / "docs" / "decisions" / "0002-dependencies.md").read_text().lower()
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    names = {re.split(r"[=<>\[]", line)[0] for line in lines if line and line[0].isalpha()}
    assert {name for name in names if name not in reasons} == set()


def test_every_dependency_is_pinned() -> None:
    lines = [
        line
        for name in ("requirements.txt", "requirements-dev.txt")
        for line in (ROOT / name).read_text().splitlines()
        if line and line[0].isalpha()
    ]
    assert [line for line in lines if "==" not in line and "<" not in line] == []


@pytest.mark.parametrize("script", sorted((ROOT / "scripts").glob("*.sh")), ids=lambda p: p.name)
def test_shell_scripts_parse_and_can_be_run(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert script.stat().st_mode & 0o111
