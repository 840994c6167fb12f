"""Tiny ONNX graphs that look like restorers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def brightener(
    path: Path,
    add: float = 0.2,
    shape: Sequence[int | str] = (1, 3, 64, 64),
    kind: int = FLOAT,
    inputs: Sequence[str] = ("face",),
) -> Path:
    """A network that adds `add` to every value (in -1..1) of its first input."""
    values = [helper.make_tensor_value_info(name, kind, shape) for name in inputs]
    made = helper.make_tensor_value_info("made", kind, shape)
    step = helper.make_tensor("step", kind, [1], [add])
    nodes = [helper.make_node("Add", [inputs[0], "step"], ["made"])]
    graph = helper.make_graph(nodes, "brightener", values, [made], [step])
    return _saved(path, graph)


def halver(path: Path) -> Path:
    """A network whose output has another shape than its input."""
    value = helper.make_tensor_value_info("face", FLOAT, [1, 3, 64, 64])
    made = helper.make_tensor_value_info("made", FLOAT, [1, 3, 32, 32])
    node = helper.make_node("AveragePool", ["face"], ["made"], kernel_shape=[2, 2], strides=[2, 2])
    return _saved(path, helper.make_graph([node], "halver", [value], [made]))


def _saved(path: Path, graph: onnx.GraphProto) -> Path:
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    return path
