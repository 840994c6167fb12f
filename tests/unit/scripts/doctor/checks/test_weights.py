"""Model files: damaged, and what is no model at all."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from models import files
from scripts.doctor.checks import weights
from scripts.doctor.finding import Finding
from scripts.doctor.look import ROOT, Look


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what ships with the code."""
    shutil.copytree(ROOT / "models" / "assets", tmp_path / "models" / "assets")
    monkeypatch.setattr(files, "ROOT", tmp_path)
    monkeypatch.setenv("WEIGHTS_DIR", str(tmp_path / "weights"))
    return tmp_path


def found() -> list[Finding]:
    return [one for one in weights.check(Look("python")) if isinstance(one, Finding)]


def test_a_damaged_and_a_missing_file_of_the_code_are_problems(tree: Path) -> None:
    assets = tree / "models" / "assets"
    (assets / "story" / "config.json").write_text("{}")
    (assets / "viseme_audio.onnx").unlink()
    missing, damaged, rest = found()
    assert (missing.code, damaged.code) == ("model-missing", "model-damaged")
    assert "restore it from the repository" in missing.remedy
    assert "config.json" in damaged.text
    assert "has 2 bytes" in damaged.text
    assert rest.text.startswith("haar, mel are there")


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer"),
        ("a.onnx", b"\n<html><body>", "a web page"),
        ("a.onnx", b"", "empty"),
        ("a.onnx", b"\x08\x07", ""),
        ("vocab.json", b"<html>", ""),
    ],
)
def test_what_was_saved_instead_of_a_model(
    name: str, content: bytes, what: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    assert weights.no_model(tmp_path / name) == what


def test_a_quick_look_reads_no_large_file_of_the_right_size(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "_LARGE_BYTES", 10)
    asset = tree / "models" / "assets" / "viseme_audio.onnx"
    asset.write_bytes(b"x" * asset.stat().st_size)
    quick = [one for one in weights.check(Look("python", quick=True)) if isinstance(one, Finding)]
    assert [one.code for one in quick] == [""]
    assert [one.code for one in found()] == ["model-damaged", ""]
