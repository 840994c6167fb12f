"""Write the trained network as an ONNX graph, node by node.

What it is: the same arithmetic as net.py's forward, from its weights. What it is not: a tracer;
building the graph by hand keeps it small and needs no exporter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from models.audio import logmel
from scripts.viseme_training.net import DEAD_ZONE, DILATIONS, KERNEL, VisemeNet

OPSET = 17
IR_VERSION = 9


class Graph:
    """A chain of nodes under construction."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[np.float32] | NDArray[np.int64]) -> str:
        """Keep an array in the file; returns its name."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node; returns its output's name."""
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(self, source: str, name: str, weight: Tensor, bias: Tensor | None, **how: int) -> str:
        """A 1-D convolution without padding."""
        inputs = [source, self.constant(f"{name}_weight", _array(weight))]
        if bias is not None:
            inputs.append(self.constant(f"{name}_bias", _array(bias)))
        attributes = {"kernel_shape": [weight.shape[-1]], "dilations": [how.get("dilation", 1)]}
        return self.node("Conv", inputs, name, group=how.get("group", 1), **attributes)


def _floats(value: float) -> NDArray[np.float32]:
    return np.array(value, np.float32)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return np.asarray(tensor.detach().numpy(), np.float32)


def build(net: VisemeNet) -> onnx.ModelProto:
    """The whole graph: `channels` [1, CHANNELS, T] to `shapes` [1, 5, T - 68]."""
    graph = Graph()
    x = graph.node("Sub", ["channels", graph.constant("mean", _array(net.mean))], "centred")
    x = graph.node("Mul", [x, graph.constant("scale", _array(net.scale))], "scaled")
    x = graph.conv(x, "first", net.first.weight, net.first.bias)
    x = graph.node("Relu", [x], "first_relu")
    for index, dilation in enumerate(DILATIONS):
        x = _residual(graph, net, x, index, dilation)
    x = graph.node("Relu", [graph.conv(x, "head", net.head.weight, net.head.bias)], "head_relu")
    x = graph.node("Sigmoid", [graph.conv(x, "out", net.out.weight, net.out.bias)], "sigmoid")
    x = graph.conv(x, "smooth", net.taps, None, group=5)
    x = graph.node("Sub", [x, graph.constant("dead", _floats(DEAD_ZONE))], "above")
    gain = graph.constant("gain", _floats(1 / (1 - 2 * DEAD_ZONE)))
    x = graph.node("Mul", [x, gain], "stretched")
    limits = [graph.constant("zero", _floats(0)), graph.constant("one", _floats(1))]
    graph.node("Clip", [x, *limits], "shapes")
    return _model(graph)


def _residual(graph: Graph, net: VisemeNet, x: str, index: int, dilation: int) -> str:
    name, skip = f"middle{index}", (KERNEL - 1) * dilation // 2
    conv = net.middle[index]
    if not isinstance(conv, nn.Conv1d):
        raise TypeError(f"layer {index} is a {type(conv).__name__}, not a convolution")
    y = graph.node(
        "Relu", [graph.conv(x, name, conv.weight, conv.bias, dilation=dilation)], name + "_relu"
    )
    start = graph.constant(f"{name}_from", np.array([skip]))
    end = graph.constant(f"{name}_to", np.array([-skip]))
    axis = graph.constant(f"{name}_axis", np.array([2]))
    cut = graph.node("Slice", [x, start, end, axis], f"{name}_cut")
    return graph.node("Add", [cut, y], f"{name}_sum")


def _model(graph: Graph) -> onnx.ModelProto:
    seen = helper.make_tensor_value_info("channels", TensorProto.FLOAT, [1, logmel.CHANNELS, "T"])
    shapes = helper.make_tensor_value_info("shapes", TensorProto.FLOAT, [1, 5, "U"])
    body = helper.make_graph(graph.nodes, "viseme_audio", [seen], [shapes], graph.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    model.producer_name = "mouthpiece"
    onnx.checker.check_model(model)
    return model


def save(net: VisemeNet, path: Path) -> None:
    """Write the file (the same weights give the same bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(build(net).SerializeToString(deterministic=True))
