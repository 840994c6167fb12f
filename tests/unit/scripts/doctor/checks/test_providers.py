"""ONNX Runtime in a real session, and without what it needs."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from scripts.doctor.checks import providers
from scripts.doctor.finding import Finding
from scripts.doctor.look import Look


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check sets CUDA_VISIBLE_DEVICES; put it back afterwards."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


def found(**facts: int) -> list[Finding]:
    look = Look("python", facts=facts)
    return [one for one in providers.check(look) if isinstance(one, Finding)]


def test_a_real_session_says_what_it_runs_on() -> None:
    (finding,) = found()
    assert finding.text.endswith("viseme_audio.onnx runs on CPUExecutionProvider")


def test_a_build_for_cpus_beside_a_gpu_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setitem(sys.modules, "torch", ModuleType("torch"))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    missing, rest = found(cuda_devices=1)
    assert missing.code == "onnx-cpu-build"
    assert rest.text.endswith("runs on CPUExecutionProvider")


@pytest.mark.parametrize("content", [b"no network", b""])
def test_a_model_that_cannot_be_opened_is_a_problem(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    monkeypatch.setattr(providers, "locate", lambda _file, _weights: path)
    (finding,) = found()
    assert finding.code == "onnx-broken"
    assert finding.text.startswith("broken.onnx: ")
