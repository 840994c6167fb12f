"""Lock files: what an image installs follows from requirements.txt."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts import lock_images
from scripts.lock_images import behind, normal, read, text_of, wanted

REQUIREMENTS = "# why\nflask==3.1.3\nonnxruntime-gpu==1.31.1\ntorch==2.13.0\nopencv>=4.14,<5\n"


def test_without_a_gpu_the_packages_are_those_without_cuda() -> None:
    assert wanted(REQUIREMENTS, "gpu")[1:3] == ["onnxruntime-gpu==1.31.1", "torch==2.13.0"]
    assert wanted(REQUIREMENTS, "cpu") == [
        "flask==3.1.3",
        "onnxruntime==1.31.1",
        "torch==2.13.0+cpu",
        "opencv>=4.14,<5",
    ]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "lock-cpu.txt"
    path.write_text(text_of({"torch": "2.13.0+cpu", "flask": "3.1.3"}, "cpu"))
    assert path.read_text().splitlines()[1:] == ["flask==3.1.3", "torch==2.13.0+cpu"]
    assert read(path) == {"flask": "3.1.3", "torch": "2.13.0+cpu"}


def test_names_are_compared_as_indexes_do() -> None:
    assert normal("Zope_Event.x") == "zope-event-x"


def test_an_older_and_a_missing_package_are_named() -> None:
    locked = {"flask": "3.1.2", "onnxruntime-gpu": "1.31.1", "opencv": "4.14.0"}
    assert behind(REQUIREMENTS, "gpu", locked) == [
        "lock-gpu.txt: flask==3.1.3 is wanted, 3.1.2 is there",
        "lock-gpu.txt: torch==2.13.0 is wanted, nothing is there",
    ]


def test_a_check_of_an_old_file_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lock-cpu.txt").write_text(text_of({"flask": "1.0"}, "cpu"))
    monkeypatch.setattr(lock_images, "FOLDER", tmp_path)
    assert lock_images.main(["--check", "--device", "cpu"]) == 1
    assert "run python -m scripts.lock_images" in capsys.readouterr().out


def test_the_files_that_are_there_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert lock_images.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_resolving_writes_every_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pip itself, on a wheel made here: no index is asked."""
    wheel(tmp_path, "outer", "1.0", needs="inner")
    wheel(tmp_path, "inner", "2.5")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    assert lock_images.resolve(["outer==1.0"]) == {"outer": "1.0", "inner": "2.5"}


def wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    """A wheel that holds nothing."""
    from zipfile import ZipFile

    info = f"{name}-{version}.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {needs}"] if needs else []
    with ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{info}/WHEEL", tags)
        archive.writestr(f"{info}/RECORD", "")
