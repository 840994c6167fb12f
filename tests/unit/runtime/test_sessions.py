"""ONNX sessions run where they were asked to, or say so."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from runtime import sessions
from runtime.sessions import CPU, CUDA, ProviderError, check_providers, open_session


@pytest.fixture
def adder(tmp_path: Path) -> Path:
    """A network that adds its input to itself."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    total = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [value], [total])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    path = tmp_path / "add.onnx"
    onnx.save(model, str(path))
    return path


def test_a_session_on_the_cpu_computes_and_is_noted(adder: Path) -> None:
    session = open_session(adder, "cpu")
    (result,) = session.run(None, {"x": np.array([1, 2], np.float32)})
    assert np.asarray(result).tolist() == [2, 4]
    assert CPU in sessions.providers_in_use()


def test_a_silent_fall_back_to_the_cpu_is_an_error() -> None:
    with pytest.raises(ProviderError, match=f"net.onnx on {CPU} though {CUDA} was asked"):
        check_providers(Path("net.onnx"), "cuda", [CPU])


def test_cuda_where_it_was_asked_for_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_in_use", set())
    check_providers(Path("net.onnx"), "cuda", [CUDA, CPU])
    assert sessions.providers_in_use() == (CUDA, CPU)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no ONNX file at .*gone\.onnx"):
        open_session(tmp_path / "gone.onnx", "cpu")


@pytest.mark.parametrize(("loaded", "calls"), [(True, 1), (False, 0)])
def test_the_libraries_that_torch_brings_are_loaded_first_where_torch_is(
    monkeypatch: pytest.MonkeyPatch, loaded: bool, calls: int
) -> None:
    done: list[int] = []
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    if loaded:
        monkeypatch.setitem(sys.modules, "torch", SimpleNamespace())
    runtime = SimpleNamespace(preload_dlls=lambda: done.append(1))
    (cuda, _options), cpu = sessions._wanted(runtime, "cuda")
    assert (cuda, cpu) == (CUDA, CPU)
    assert len(done) == calls
    assert sessions._wanted(runtime, "cpu") == [CPU]
