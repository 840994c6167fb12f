"""The systemd unit, read by systemd itself where it is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from server import master
from tests.unit.deploy.dockerfile import ROOT

UNIT = ROOT / "deploy" / "systemd" / "mouthpiece.service"
ANALYZE = shutil.which("systemd-analyze")
needs_systemd = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


def values(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), flags=re.MULTILINE)


@needs_systemd
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    """With this interpreter for the one in /opt, and no user manual beside it."""
    text = UNIT.read_text().replace("/opt/mouthpiece/.venv/bin/python", sys.executable)
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    ran = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")


@needs_systemd
def test_little_is_exposed() -> None:
    ran = subprocess.run(
        [str(ANALYZE), "security", "--offline=true", "--threshold=25", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unrecognized option" in ran.stderr:
        pytest.skip("this systemd cannot judge a unit offline")
    assert ran.returncode == 0, ran.stdout[-200:]


def test_it_starts_what_the_code_has() -> None:
    (start,) = values("ExecStart")
    _, script = start.split(" ")
    assert (ROOT / Path(script).relative_to("/opt/mouthpiece")).is_file()
    assert values("WorkingDirectory") == ["/opt/mouthpiece"]


def test_refused_settings_are_not_tried_again() -> None:
    assert values("RestartPreventExitStatus") == [str(master._REFUSED_EXIT)]


def test_it_may_drain_longer_than_the_server_does() -> None:
    from server.settings import Settings

    default = Settings.model_fields["graceful_timeout_s"].default
    assert float(values("TimeoutStopSec")[0]) >= 1.5 * default


def test_it_writes_into_its_state_folder_only() -> None:
    assert values("ProtectSystem") == ["strict"]
    assert values("StateDirectory") == ["mouthpiece"]
    assert "DATA_DIR=/var/lib/mouthpiece" in values("Environment")[0]
