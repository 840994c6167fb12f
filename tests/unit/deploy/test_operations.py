"""docs/operations.md: its commands are those that work, its names are those of the files."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.lock_images import DEVICES
from server.settings import Settings
from tests.unit.deploy.dockerfile import ROOT

GUIDE = (ROOT / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", GUIDE, flags=re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.strip().splitlines()]
COMPOSE = [shlex.split(line) for line in COMMANDS if line.startswith("docker-compose")]
# The life of a container, which scripts/test_containers.sh runs through.
LIFE = {"up", "build", "exec", "logs"}


def test_every_compose_command_names_a_file_and_a_step_of_its_life() -> None:
    assert len(COMPOSE) >= 6
    for words in COMPOSE:
        assert words[1] == "-f"
        assert (ROOT / words[2]).is_file()
        assert words[3] in LIFE


@pytest.mark.parametrize(
    "words", [words for words in COMPOSE if words[3] == "exec"], ids=lambda words: words[-2]
)
def test_what_is_run_inside_a_container_is_in_the_image(words: list[str]) -> None:
    service, program, *rest = words[4:]
    assert (service, program) == ("mouthpiece", "python")
    command = ["--help" if word.startswith("-") and word != "-m" else word for word in rest]
    until = command.index("--help") + 1
    ran = subprocess.run(
        [sys.executable, *command[:until]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert next(word for word in rest if word.startswith("--")) in ran.stdout


def test_the_backup_is_a_whole_database(tmp_path: Path) -> None:
    """Taken while the database is open, with rows that are in the log of changes only."""
    (command,) = (line for line in COMMANDS if "sqlite3" in line)
    source, target = tmp_path / "mouthpiece.db", tmp_path / "backup.db"
    command = command.replace("/var/lib/mouthpiece/mouthpiece.db", str(source))
    command = command.replace("/var/backups/mouthpiece.db", str(target))
    live = sqlite3.connect(source)
    live.execute("pragma journal_mode=wal")
    live.execute("create table jobs (id text)")
    live.execute("insert into jobs values ('a')")
    live.commit()
    program, flag, code = shlex.split(command)
    assert program == "python3"
    assert subprocess.run([sys.executable, flag, code], check=False).returncode == 0
    copy = sqlite3.connect(target)
    assert copy.execute("select id from jobs").fetchall() == [("a",)]
    copy.close()
    live.close()


def test_the_steps_without_containers_use_what_is_there() -> None:
    (block,) = (block for block in BLOCKS if "systemctl" in block)
    assert (ROOT / re.findall(r"(deploy/systemd/\S+)", block)[0]).is_file()
    assert (ROOT / re.findall(r"/opt/mouthpiece/(\S+)", block)[0]).is_file()


def test_every_variable_of_the_table_is_one_of_the_files() -> None:
    table = GUIDE.split("| variable |")[1].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    named = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}
    assert len(named) >= 12
    for path in ("docker-compose-linux.yml", "docker-compose.cpu.yml"):
        used = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "deploy" / path).read_text()))
        gpu_only = {"REQUIRE_GPU"} if "cpu" in path else set()
        assert named - gpu_only <= used
        assert used - named <= {"LOG_FORMAT", "MOUTHPIECE_IMAGE"}


def test_the_sizes_run_from_12_to_141_gb_with_settings_that_are_allowed() -> None:
    table = GUIDE.split("| memory | cards")[1].split("\n\n")[0]
    rows = [line.split("|") for line in table.splitlines()[2:]]
    sizes = [int(re.findall(r"(\d+) GB", row[1])[-1]) for row in rows]
    assert sizes[0] == 12
    assert sizes[-1] == 141
    assert sorted(sizes) == sizes
    for row in rows:
        given = dict(pair.split("=") for pair in re.findall(r"[A-Z_]+=\w+", row[3]))
        assert given, row
        assert {name.lower() for name in given} <= set(Settings.model_fields)
        Settings(**given)


def test_every_alert_is_explained() -> None:
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    alerts = set(re.findall(r"alert: (\w+)", rules))
    assert alerts
    assert {name for name in alerts if f"| `{name}` |" not in GUIDE} == set()


def test_there_is_a_lock_file_for_each_device() -> None:
    found = {path.name for path in (ROOT / "deploy" / "docker").glob("lock-*.txt")}
    assert found == {f"lock-{device}.txt" for device in DEVICES}
