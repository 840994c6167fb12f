"""Both Compose files: read by docker-compose where it is installed, and alike but for the GPU."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from server.settings import Settings
from tests.unit.deploy.dockerfile import ROOT

DEPLOY = ROOT / "deploy"
GPU, CPU = DEPLOY / "docker-compose-linux.yml", DEPLOY / "docker-compose.cpu.yml"
FILES = pytest.mark.parametrize("path", [GPU, CPU], ids=lambda path: path.name)
# What the image and the files themselves decide.
FIXED = {
    *("HOST", "PORT", "GUNICORN_BIND", "OPS_HOST", "OPS_PORT"),
    *("DATA_DIR", "WEIGHTS_DIR", "DEVICE", "REQUIRE_GPU", "LOG_FORMAT"),
}


def readers() -> list[list[str]]:
    """The commands that read Compose files on this machine: 1.29, v2."""
    found = []
    if shutil.which("docker-compose"):
        found.append(["docker-compose"])
    if shutil.which("docker"):
        plugin = subprocess.run(
            ["docker", "compose", "version"], capture_output=True, check=False
        ).returncode
        if plugin == 0:
            found.append(["docker", "compose"])
    return found


def settled(command: list[str], path: Path, **environment: str) -> dict[str, Any]:
    """The mouthpiece service as Compose understands it."""
    return _settled(tuple(command), path, tuple(environment.items()))


@cache
def _settled(
    command: tuple[str, ...], path: Path, environment: tuple[tuple[str, str], ...]
) -> dict[str, Any]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    ran = subprocess.run(
        [*command, "-f", str(path), "config"],
        env={**kept, **dict(environment)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    service: dict[str, Any] = yaml.safe_load(ran.stdout)["services"]["mouthpiece"]
    return service


def names(path: Path) -> list[str]:
    """The variables that are passed on."""
    section = path.read_text().split("    environment:\n")[1].split("\nvolumes:")[0]
    return re.findall(r"^      - ([A-Z0-9_]+)", section, flags=re.MULTILINE)


def every_setting() -> set[str]:
    found: set[str] = set()
    for name, info in Settings.model_fields.items():
        choices = getattr(info.validation_alias, "choices", [name.upper()])
        found |= {str(choice) for choice in choices}
    return found


@FILES
def test_every_setting_is_passed_on(path: Path) -> None:
    missing = every_setting() - FIXED - set(names(path))
    assert missing == set(), f"add to the end of {path.name}, each as `      - NAME`"


@FILES
def test_nothing_is_passed_on_that_is_no_setting(path: Path) -> None:
    assert set(names(path)) - every_setting() == set()
    assert len(names(path)) == len(set(names(path)))


@FILES
def test_nothing_needs_a_later_compose_than_1_29(path: Path) -> None:
    text = path.read_text()
    top = set(re.findall(r"^([a-z_]+):", text, flags=re.MULTILINE))
    assert top <= {"services", "volumes"}
    # Defaults within defaults, and `required`, `develop`, `include`, `secrets`' newer forms.
    assert not re.search(r"\$\{[^}]*\$\{", text)
    assert not re.search(r"\b(include|develop|required|name|profiles|extends|pull_policy):", text)


def without_gpu(path: Path) -> list[str]:
    text = re.sub(r"    deploy:\n(?:      .*\n)+", "", path.read_text())
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    own = ("DEVICE", "REQUIRE_GPU", ":size=2g", "MOUTHPIECE_IMAGE")
    return [line for line in lines if not any(word in line for word in own)]


def test_the_two_files_differ_by_the_gpu_only() -> None:
    assert without_gpu(GPU) == without_gpu(CPU)


@pytest.mark.skipif(not readers(), reason="neither docker-compose nor Compose v2 is installed")
@pytest.mark.parametrize("command", readers(), ids=" ".join)
class TestAsComposeReadsIt:
    def test_the_gpu_file_reserves_every_gpu(self, command: list[str]) -> None:
        (device,) = settled(command, GPU)["deploy"]["resources"]["reservations"]["devices"]
        assert device["capabilities"] == ["gpu"]
        assert device["driver"] == "nvidia"
        assert device["count"] in ("all", -1)
        assert "deploy" not in settled(command, CPU)

    @FILES
    def test_it_is_locked_down_and_comes_back(self, command: list[str], path: Path) -> None:
        service = settled(command, path)
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["user"] == "1000:1000"
        assert service["restart"] == "unless-stopped"
        assert "privileged" not in service

    @FILES
    def test_only_the_own_machine_reaches_it_by_default(
        self, command: list[str], path: Path
    ) -> None:
        ports = json.dumps(settled(command, path)["ports"])
        assert ports.count("127.0.0.1") == 2
        assert "8383" in ports
        assert "8384" in ports

    @FILES
    def test_opening_it_leaves_the_ops_port_closed(self, command: list[str], path: Path) -> None:
        ports = settled(command, path, PUBLISH_ADDRESS="0.0.0.0", PORT="9000")["ports"]
        clients, ops = (json.dumps(port) for port in ports)
        assert "0.0.0.0" in clients
        assert "9000" in clients
        assert "127.0.0.1" in ops

    @FILES
    def test_heygem_s_folder_is_its_data(
        self, command: list[str], path: Path, tmp_path: Path
    ) -> None:
        plain = json.dumps(settled(command, path, HOME="/home/ann")["volumes"])
        assert "/home/ann/heygem_data/face2face" in plain
        assert "/code/data" in plain
        moved = settled(command, path, DATA_FOLDER=str(tmp_path), WEIGHTS_FOLDER="/srv/weights")
        assert str(tmp_path) in json.dumps(moved["volumes"])
        assert "/srv/weights" in json.dumps(moved["volumes"])

    @FILES
    def test_settings_reach_it_and_unset_ones_do_not(self, command: list[str], path: Path) -> None:
        environment = settled(command, path, GPU_CONFIG="custom")["environment"]
        assert environment["GPU_CONFIG"] == "custom"
        assert environment["API_KEY"] is None
        assert environment["LOG_FORMAT"] == "json"

    def test_shared_memory_is_8_gb(self, command: list[str]) -> None:
        assert str(settled(command, GPU)["shm_size"]) in ("8g", str(8 * 1024**3))
