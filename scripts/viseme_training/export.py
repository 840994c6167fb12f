"""Write the trained networks as an ONNX graph, node by node.

What it is: the same arithmetic as net.py's `Choir`, from its weights. What it is not: a tracer;
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
from scripts.viseme_training.net import (
    FLOORS,
    FULLS,
    KERNEL,
    LAYERS,
    OUTPUTS,
    VOICE_FROM,
    VOICE_TO,
    Choir,
    VisemeNet,
)

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


def build(model: Choir) -> onnx.ModelProto:
    """The graph: `channels` [1, CHANNELS, T] to `shapes` [1, 6, T - 72]; the last is the voice."""
    graph = Graph()
    voices = [_rows(graph, net, f"net{index}_") for index, net in enumerate(model.nets)]
    mean = graph.node("Mean", voices, "mean_of_all")
    floors, fulls = (np.array(limits, np.float32)[:, None] for limits in (FLOORS, FULLS))
    above = graph.node("Sub", [mean, graph.constant("floors", floors)], "above")
    spans = graph.constant("spans", fulls - floors)
    limits = [graph.constant("zero", _floats(0)), graph.constant("one", _floats(1))]
    rows = graph.node("Clip", [graph.node("Div", [above, spans], "stretched"), *limits], "rows")
    _gated(graph, rows, limits)
    return _model(graph)


def _rows(graph: Graph, net: nn.Module, prefix: str) -> str:
    """One network's six rows; every name of it begins with `prefix`."""
    if not isinstance(net, VisemeNet):
        raise TypeError(f"{type(net).__name__} is no VisemeNet")
    mean, scale = (graph.constant(prefix + n, _array(getattr(net, n))) for n in ("mean", "scale"))
    x = graph.node("Sub", ["channels", mean], prefix + "centred")
    x = graph.node("Mul", [x, scale], prefix + "scaled")
    x = graph.conv(x, prefix + "first", net.first.weight, net.first.bias)
    x = graph.node("Relu", [x], prefix + "first_relu")
    for index in range(len(LAYERS)):
        x = _residual(graph, net, x, (prefix, index))
    for name, layer, kind in (("head", net.head, "Relu"), ("out", net.out, "Sigmoid")):
        x = graph.node(
            kind, [graph.conv(x, prefix + name, layer.weight, layer.bias)], f"{prefix}{name}_{kind}"
        )
    return graph.conv(x, prefix + "smooth", net.taps, None, group=OUTPUTS)


def _gated(graph: Graph, rows: str, limits: list[str]) -> str:
    """Zeros where nobody speaks; the voice stays as it is."""
    axis = graph.constant("rows_axis", np.array([1]))
    ends = [graph.constant(f"row{at}", np.array([at])) for at in (0, OUTPUTS - 1, OUTPUTS)]
    shapes = graph.node("Slice", [rows, ends[0], ends[1], axis], "ungated")
    voice = graph.node("Slice", [rows, ends[1], ends[2], axis], "voice")
    above = graph.node("Sub", [voice, graph.constant("voice_from", _floats(VOICE_FROM))], "heard")
    slope = graph.constant("voice_slope", _floats(1 / (VOICE_TO - VOICE_FROM)))
    steep = graph.node("Mul", [above, slope], "steep")
    gate = graph.node("Clip", [steep, *limits], "gate")
    held = graph.node("Mul", [shapes, gate], "held")
    return graph.node("Concat", [held, voice], "shapes", axis=1)


def _residual(graph: Graph, net: VisemeNet, x: str, at: tuple[str, int]) -> str:
    prefix, index = at
    name, (dilation, taps) = f"{prefix}middle{index}", LAYERS[index]
    right, left = dilation * taps, dilation * (KERNEL - 1 - taps)
    conv = net.middle[index]
    if not isinstance(conv, nn.Conv1d):
        raise TypeError(f"layer {index} is a {type(conv).__name__}, not a convolution")
    y = graph.node(
        "Relu", [graph.conv(x, name, conv.weight, conv.bias, dilation=dilation)], name + "_relu"
    )
    start = graph.constant(f"{name}_from", np.array([left]))
    end = graph.constant(f"{name}_to", np.array([-right if right else np.iinfo(np.int64).max]))
    axis = graph.constant(f"{name}_axis", np.array([2]))
    cut = graph.node("Slice", [x, start, end, axis], f"{name}_cut")
    return graph.node("Add", [cut, y], f"{name}_sum")


def _model(graph: Graph) -> onnx.ModelProto:
    seen = helper.make_tensor_value_info("channels", TensorProto.FLOAT, [1, logmel.CHANNELS, "T"])
    shapes = helper.make_tensor_value_info("shapes", TensorProto.FLOAT, [1, 6, "U"])
    body = helper.make_graph(graph.nodes, "viseme_audio", [seen], [shapes], graph.constants)
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    model.producer_name = "mouthpiece"
    onnx.checker.check_model(model)
    return model


def save(model: Choir, path: Path) -> None:
    """Write the file (the same weights give the same bytes)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(build(model).SerializeToString(deterministic=True))
