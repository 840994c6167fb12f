"""Small ONNX networks with the heads of detectors and landmark models, whose answers are known.

They see the faces that the test names in every picture that is not dark, and none in dark ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Heads = dict[str, NDArray[np.float32]]
POINTS = ((-8, -6), (8, -6), (0, 0), (-6, 8), (6, 8))


@dataclass(frozen=True)
class Spot:
    """A face in the network's input: its centre, size, score, and the grid that sees it."""

    x: float
    y: float
    width: float = 40.0
    height: float = 50.0
    score: float = 0.9
    stride: int = 8
    anchor: int = 0

    @property
    def points(self) -> NDArray[np.float32]:
        """Five points about the centre."""
        return np.array([(self.x + dx, self.y + dy) for dx, dy in POINTS], np.float32)


@dataclass(frozen=True)
class Shape:
    """A network's input and outputs: side of the square, its dimensions as the file tells them."""

    side: int = 64
    batch: int | str = 1
    free: bool = False
    flat: bool = False
    levels: int = 3
    points: bool = True

    @property
    def dims(self) -> list[int | str]:
        side: list[int | str] = ["h", "w"] if self.free else [self.side, self.side]
        return [self.batch, 3, *side]


def yunet(path: Path, spots: Sequence[Spot], shape: Shape = Shape()) -> Path:
    """A network with YuNet's heads. A score is the root of class times object."""
    heads: Heads = {}
    for stride in (8, 16, 32):
        count = (shape.side // stride) ** 2
        for kind, last in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            heads[f"{kind}_{stride}"] = np.zeros((1, count, last), np.float32)
    for spot in spots:
        s, columns = spot.stride, shape.side // spot.stride
        column, row = int(spot.x / s), int(spot.y / s)
        at = row * columns + column
        heads[f"cls_{s}"][0, at] = spot.score
        heads[f"obj_{s}"][0, at] = spot.score
        size = np.log(np.array((spot.width, spot.height)) / s)
        heads[f"bbox_{s}"][0, at] = (spot.x / s - column, spot.y / s - row, *size)
        heads[f"kps_{s}"][0, at] = (spot.points / s - (column, row)).ravel()
    return save(path, heads, shape, gated=("cls", "obj"))


def scrfd(path: Path, spots: Sequence[Spot], shape: Shape = Shape()) -> Path:
    """A network with SCRFD's heads under numbers for names; two anchors a cell, one with five
    levels.
    """
    anchors = 1 if shape.levels == 5 else 2
    kinds = {"1": 1, "4": 4, **({"9": 10} if shape.points else {})}
    heads: Heads = {}
    for name, last in kinds.items():
        for level in range(shape.levels):
            count = anchors * (-(-shape.side // (8 << level))) ** 2
            heads[f"{name}{level}0"] = np.zeros((1, count, last), np.float32)
    for spot in spots:
        s, level = spot.stride, (spot.stride // 8).bit_length() - 1
        column, row = int(spot.x / s), int(spot.y / s)
        at = anchors * (row * (-(-shape.side // s)) + column) + spot.anchor
        corner = np.array((column, row))
        half = np.array((spot.width, spot.height)) / 2
        low, high = np.array((spot.x, spot.y)) - half, np.array((spot.x, spot.y)) + half
        heads[f"1{level}0"][0, at] = spot.score
        heads[f"4{level}0"][0, at] = (*(corner - low / s), *(high / s - corner))
        if shape.points:
            heads[f"9{level}0"][0, at] = (spot.points / s - corner).ravel()
    return save(path, heads, shape, gated=("1",))


def landmarks(path: Path, answer: NDArray[Any], shape: Shape = Shape()) -> Path:
    """A network that answers the same points for every picture, and a score beside them."""
    heads = {"score": np.zeros((1, 1), np.float32), "points": answer[None].astype(np.float32)}
    return save(path, heads, shape, gated=("score",))


def save(path: Path, heads: Heads, shape: Shape, gated: Sequence[str]) -> Path:
    """Write the network: each head plus what a picture's brightness makes of it. Heads whose names
    begin with one of `gated` are 0 for dark pictures.
    """
    nodes: list[Any] = [
        helper.make_node("ReduceMax", ["input"], ["most"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Greater", ["most", "dark"], ["light"]),
        helper.make_node("Cast", ["light"], ["gate"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["gate", "zero"], ["nothing"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "dark": np.array([0.0], np.float32),
        "zero": np.array([0.0], np.float32),
    }
    outputs = []
    for name, head in heads.items():
        axes = np.array([-1, *([1] * (head.ndim - 1))], np.int64)
        constants[f"{name}_is"], constants[f"{name}_axes"] = head, axes
        gate = "gate" if name.startswith(tuple(gated)) else "nothing"
        kind = "Mul" if gate == "gate" else "Add"
        whole = f"{name}_whole" if shape.flat else name
        nodes += [
            helper.make_node("Reshape", [gate, f"{name}_axes"], [f"{name}_gate"]),
            helper.make_node(kind, [f"{name}_is", f"{name}_gate"], [whole]),
        ]
        dims: list[int | str] = [shape.batch, *head.shape[1:]]
        if shape.flat:
            constants[f"{name}_flat"] = np.array([-1, head.shape[-1]], np.int64)
            nodes.append(helper.make_node("Reshape", [whole, f"{name}_flat"], [name]))
            dims = list(head.shape[1:])
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, dims))
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape.dims)],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path
