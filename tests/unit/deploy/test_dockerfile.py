"""The Dockerfile keeps what docs/operations.md promises, as far as it can be read."""

from __future__ import annotations

import fnmatch
import re
import subprocess

import pytest

from scripts.lock_images import DEVICES, behind, read
from tests.unit.deploy.dockerfile import KNOWN, PATH, ROOT, Stage, instructions, stages

TEXT = PATH.read_text()
HEAD, STAGES = stages(TEXT)
FINAL = STAGES[-1]
TOOLS = r"\b(gcc|g\+\+|make|build-essential|git|curl|wget|python3-venv|python3-pip)\b"


def ancestors(stage: Stage) -> list[Stage]:
    """The stage and those it stands on: all that is in its image."""
    below = [other for other in STAGES if other.name == stage.base]
    return [stage, *(found for one in below for found in ancestors(one))]


def test_instructions_are_of_the_classic_builder() -> None:
    assert {word for word, _ in instructions(TEXT)} <= KNOWN
    assert not re.search(r"^RUN +--", TEXT, flags=re.MULTILINE)


def test_the_base_is_one_argument_for_all_stages() -> None:
    assert HEAD == ["BASE=debian:bookworm-slim"]
    outside = {stage.base for stage in STAGES} - {stage.name for stage in STAGES}
    assert outside == {"${BASE}"}


def test_no_build_tool_is_installed_in_the_final_image() -> None:
    runs = [run for stage in ancestors(FINAL) for run in stage.of("RUN")]
    assert len(runs) >= 2
    assert [run for run in runs if re.search(TOOLS, run)] == []


def test_package_lists_are_removed_where_they_stay_in_the_image() -> None:
    for stage in ancestors(FINAL):
        for run in stage.of("RUN"):
            assert run.count("apt-get update") == run.count("rm -rf /var/lib/apt/lists/*")


def test_it_does_not_run_as_root() -> None:
    assert FINAL.of("USER") == ["${RUN_UID}:${RUN_GID}"]
    assert {"RUN_UID=1000", "RUN_GID=1000"} <= set(FINAL.of("ARG"))
    after = FINAL.lines[FINAL.lines.index(("USER", FINAL.of("USER")[0])) :]
    assert {word for word, _ in after} & {"RUN", "COPY"} == set()


def test_health_is_asked_on_the_ops_port() -> None:
    (check,) = FINAL.of("HEALTHCHECK")
    assert "${OPS_PORT}/v2/health/ready" in check
    script = check.split("python ")[1].split()[0]
    assert (ROOT / script.removeprefix("/code/")).is_file()


def test_data_and_models_are_volumes_where_the_settings_say() -> None:
    (volumes,), (settings,) = FINAL.of("VOLUME"), FINAL.of("ENV")
    assert volumes == '["/code/data", "/models"]'
    assert "DATA_DIR=/code/data" in settings
    assert "WEIGHTS_DIR=/models" in settings


def test_packages_are_installed_before_the_code_so_that_layers_are_kept() -> None:
    packages = next(stage for stage in STAGES if stage.name == "packages")
    assert packages.of("COPY") == ["deploy/docker/lock-*.txt /tmp/"]


@pytest.mark.parametrize("device", DEVICES)
def test_every_package_is_pinned_as_the_requirements_want_it(device: str) -> None:
    path = PATH.with_name(f"lock-{device}.txt")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9-]+==[a-z0-9.+]+", line)] == []
    requirements = (ROOT / "requirements.txt").read_text()
    assert behind(requirements, device, read(path)) == []


def test_the_cpu_image_has_nothing_of_cuda() -> None:
    names = set(read(PATH.with_name("lock-cpu.txt")))
    assert {name for name in names if name.startswith(("cuda", "triton"))} == set()
    # Asks a driver for figures and brings none of CUDA.
    assert {name for name in names if name.startswith("nvidia")} == {"nvidia-ml-py"}


def sent(path: str) -> bool:
    """Whether .dockerignore lets a file through: the last rule that matches it decides."""
    kept = True
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    for rule in rules:
        pattern = rule.lstrip("!").removeprefix("**/")
        if not rule or rule.startswith("#"):
            continue
        chains = ["/".join(path.split("/")[: at + 1]) for at in range(path.count("/") + 1)]
        names = [*chains, *(part for part in path.split("/") if rule.startswith("**/"))]
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            kept = rule.startswith("!")
    return kept


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    copies = [rest.split()[:-1] for stage in STAGES for rest in stage.of("COPY")]
    sources = [one for rest in copies for one in rest if not one.startswith(("--", "/"))]
    assert len(sources) >= 8
    for source in sources:
        inside = [
            name
            for name in tracked
            if name.startswith(f"{source}/") or fnmatch.fnmatchcase(name, source)
        ]
        assert any(sent(name) for name in inside), source


@pytest.mark.parametrize(
    "name",
    [
        ".git/config",
        ".venv/bin/python",
        "data/mouthpiece.db",
        "weights/wav2lip.pth",
        "server/__pycache__/settings.cpython-311.pyc",
        "tests/unit/test_docs.py",
        "scripts/train_story.py",
        "face_detect_utils/resources/scrfd_10g.onnx",
        "deploy/.env",
    ],
)
def test_what_is_private_or_large_is_not_sent(name: str) -> None:
    assert not sent(name)


@pytest.mark.parametrize("name", ["server/boot.py", "models/assets/story/vocab.json"])
def test_code_and_its_assets_are_sent(name: str) -> None:
    assert sent(name)
