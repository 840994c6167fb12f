"""The doctor names the cause of each deliberately broken set-up, and is silent on a good one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.doctor.book import BOOK
from server.slots import nvidia_gpus
from tests.integration.breakage import Broken
from tests.integration.server import FAKE_APP, ROOT, free_port, start_server
from tests.integration.setups import SETUPS, SetUp

PROGRAM = str(ROOT / "scripts" / "check_gpu_gunicorn.py")


@dataclass(frozen=True)
class Report:
    """What the doctor said, in JSON."""

    code: int
    text: str
    data: dict[str, Any]

    @property
    def codes(self) -> list[str]:
        return [one["code"] for one in self.data["findings"] if one["code"]]

    def of(self, check: str) -> str:
        return " ".join(one["text"] for one in self.data["findings"] if one["check"] == check)


def doctor(folder: Path, broken: Broken, *options: str) -> Report:
    """Run it as a person would, with everything of its own that the set-up does not break."""
    settings = {
        "PORT": str(free_port()),
        "OPS_PORT": "0",
        "DATA_DIR": str(folder / "data"),
        "WEIGHTS_DIR": str(folder / "weights"),
        "MAX_UPLOAD_BYTES": "1000",
    }
    line = [sys.executable, PROGRAM, "--json", *options, *broken.options]
    if broken.mounts:
        line = ["unshare", "-m", "sh", "-c", f'{broken.mounts} && exec "$@"', "sh", *line]
    ran = subprocess.run(
        line,
        cwd=folder,
        env={**os.environ, **settings, **broken.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert ran.stdout, ran.stderr
    return Report(ran.returncode, ran.stdout, json.loads(ran.stdout))


@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.name.replace(" ", "-"))
def test_the_cause_of_a_broken_set_up_is_named_with_its_remedy(
    setup: SetUp, tmp_path: Path
) -> None:
    quick = () if setup.only == "trial" else ("--quick",)
    with setup.arrange(tmp_path) as broken:
        report = doctor(tmp_path, broken, "--only", setup.only, *quick)
    assert sorted(report.codes) == sorted(setup.codes), report.text
    said = json.dumps(report.data, ensure_ascii=False)
    assert [word for word in setup.words if word not in said] == [], report.text
    assert "Traceback" not in report.text
    assert "verysecret" not in report.text
    levels = {BOOK[code].level.value for code in setup.codes}
    assert report.code == report.data["exit_code"] == (2 if "problem" in levels else 1)


def test_a_good_set_up_is_silent_and_starts_a_server_of_its_own(tmp_path: Path) -> None:
    if psutil.virtual_memory().available < 3 * 1024**3:
        pytest.skip("too little memory is free on this machine")
    if nvidia_gpus():
        pytest.skip("with a GPU: tests/gpu/test_doctor.py")
    report = doctor(tmp_path, Broken())
    assert report.codes == [], report.text
    assert report.code == 0
    assert "a server started here is ready on cpu" in report.of("trial")
    assert "loaded once" in report.of("trial")
    assert report.data["counts"]["not seen"] == 0
    assert "GPUs     none seen" in report.data["summary"]
    assert list(tmp_path.iterdir()) == []


def test_beside_a_running_server_it_looks_at_that_one_and_starts_none(tmp_path: Path) -> None:
    with start_server({"DEVICE": "cpu"}, app=FAKE_APP) as server:
        env = {"PORT": str(server.port), "DATA_DIR": str(server.data_dir), "DEVICE": "cpu"}
        report = doctor(tmp_path, Broken(env), "--only", "ports,slots,trial")
        assert report.codes == [], report.text
        assert f"this server runs at 127.0.0.1:{server.port}" in report.of("ports")
        assert "of the running server" in report.of("slots")
        assert "not started: the server runs already" in report.of("trial")
        assert server.health()["status"] == "ready"
