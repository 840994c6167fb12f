"""Buckets of CUDA graphs, with an eager stand-in for the capture, and the capture with a stand-in
for CUDA; one real run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from models.text.base import Precision
from models.text.cache import Cache
from models.text.graphs import Graphs, buckets, windows
from models.text.network import make_network
from runtime.capture import capture_cuda
from tests.unit.models.text.test_network import CLOSE, IDS, SMALL, network, random_state
from tests.unit.runtime.captures import Captures


class Cuda:
    """As much of torch.cuda as a capture needs. `log` says what ran, and on which stream.

    A replay runs the last step that ran under the capture, into the tensor that it gave there.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.on = "main"
        self.captured: list[tuple[Callable[[], Tensor], Tensor]] = []
        for name in ("Stream", "current_stream", "stream", "CUDAGraph", "graph"):
            monkeypatch.setattr(torch.cuda, name, getattr(self, name))

    def watch(self, step: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """The step, told of in the log."""

        def watched() -> Tensor:
            self.log.append(f"step on {self.on}")
            out = step()
            if self.on == "graph":
                self.captured.append((step, out))
            return out

        return watched

    def Stream(self) -> FakeStream:  # noqa: N802 - CUDA's name
        return FakeStream(self, "side")

    def current_stream(self) -> FakeStream:
        return FakeStream(self, self.on)

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.on = self.on, stream.name
        yield
        self.on = before

    def CUDAGraph(self) -> Cuda:  # noqa: N802 - CUDA's name
        return self

    @contextmanager
    def graph(self, graph: Cuda, capture_error_mode: str, pool: Any = None) -> Iterator[None]:
        self.log.append(f"capture, errors of {capture_error_mode}")
        with self.stream(FakeStream(self, "graph")):
            yield

    def replay(self) -> None:
        step, out = self.captured[-1]
        out.copy_(step())


class FakeStream:
    """A queue of work on the fake device."""

    def __init__(self, cuda: Cuda, name: str) -> None:
        self.cuda, self.name = cuda, name

    def wait_stream(self, other: FakeStream) -> None:
        self.cuda.log.append(f"{self.name} waits for {other.name}")


def test_a_capture_follows_two_runs_on_a_stream_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = Cuda(monkeypatch)
    source = torch.zeros(3)
    replay, out = capture_cuda(cuda.watch(source.clone))
    assert cuda.log == [
        "side waits for main",
        "step on side",
        "step on side",
        "main waits for side",
        "capture, errors of thread_local",
        "step on graph",
    ]
    source += 5
    assert out.tolist() == [0, 0, 0]
    replay()
    assert out.tolist() == [5, 5, 5]


def test_runs_before_the_first_replay_write_to_the_scratch_position_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cuda = Cuda(monkeypatch)
    seen: list[tuple[str, list[int]]] = []

    def step(ids: Tensor, positions: Tensor, window: int) -> Tensor:
        def run() -> Tensor:
            seen.append((cuda.on, positions.tolist()))
            return torch.stack([ids, positions], 1).float()

        return cuda.watch(run)()

    graphs = Graphs(step, 2, 128, "cpu")
    assert graphs.decode([1], [7], [3]).tolist() == [[7, 3]]
    scratch = [128, 128]
    assert seen == [("side", scratch), ("side", scratch), ("graph", scratch), ("main", [128, 3])]
    assert graphs.decode([0, 1], [4, 5], [9, 8]).tolist() == [[4, 9], [5, 8]]
    assert seen[4:] == [("main", [9, 8])]


@pytest.mark.parametrize(
    ("slots", "sizes"),
    [(1, (1,)), (2, (1, 2)), (5, (1, 2, 4, 8)), (64, (1, 2, 4, 8, 16, 32, 64))],
)
def test_buckets_reach_the_slots_and_no_further(slots: int, sizes: tuple[int, ...]) -> None:
    assert buckets(slots) == sizes


def test_more_slots_than_the_largest_bucket_make_their_own() -> None:
    assert buckets(100)[-2:] == (64, 100)


@pytest.mark.parametrize(
    ("block", "sizes"),
    [(24, (24,)), (128, (128,)), (1024, (128, 256, 512, 1024)), (200, (128, 200))],
)
def test_windows_double_up_to_the_block(block: int, sizes: tuple[int, ...]) -> None:
    assert windows(block) == sizes


def test_each_bucket_and_window_is_captured_once() -> None:
    captures = Captures()
    asked: list[tuple[int, int]] = []

    def step(ids: Tensor, positions: Tensor, window: int) -> Tensor:
        asked.append((len(ids), window))
        return torch.stack([ids, positions], 1).float()

    graphs = Graphs(step, 8, 256, "cpu", captures)
    assert graphs.decode([0], [7], [3]).tolist() == [[7, 3]]
    assert graphs.decode([5, 2], [8, 9], [130, 4]).tolist() == [[8, 130], [9, 4]]
    assert graphs.decode([0], [6], [4]).tolist() == [[6, 4]]
    assert set(asked) == {(1, 128), (8, 256)}
    assert captures.rows == [1, 8]


def test_graphed_steps_equal_eager_steps() -> None:
    eager, graphed = network(), network()
    graphed._cache = Cache(SMALL, buckets(4)[-1], torch.float32, "cpu")
    graphed._graphs = Graphs(graphed._window, 4, SMALL.block_size, "cpu", Captures())
    for net in (eager, graphed):
        net.prefill(0, IDS[:5], 0)
        net.prefill(2, IDS[:9], 0)
    for slots, ids, places in (([2, 0], [4, 5], [9, 5]), ([2], [7], [10]), ([0], [7], [6])):
        one, other = eager.decode(slots, ids, places), graphed.decode(slots, ids, places)
        assert torch.allclose(one[:, :57], other[:, :57], atol=CLOSE)


def test_on_a_device_shapes_and_types_hold_without_one() -> None:
    """PyTorch's "meta" device works out shapes only."""
    net = make_network(SMALL, random_state(SMALL), 5, Precision.BF16, "meta", 57)
    assert net._cache.values.shape == (2, 8, 2, 4, 25, 8)
    assert net._cache.values.dtype == torch.bfloat16
    for logits in (net.prefill(0, IDS[:5], 0), net.prefill(0, IDS[5:9], 5, every=True)):
        assert logits.shape[-1] == 60
        assert logits.dtype == torch.float32
    numbers = torch.zeros(8, dtype=torch.int64, device="meta")
    assert net._window(numbers, numbers, 24).shape == (8, 60)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize(("precision", "far"), [(Precision.FP32, 1e-3), (Precision.BF16, 0.3)])
def test_cuda_graphs_equal_the_cpu(precision: Precision, far: float) -> None:
    there = make_network(SMALL, random_state(SMALL), 4, precision, "cuda", 57)
    here = network()
    for net in (there, here):
        net.prefill(0, IDS[:5], 0)
        net.prefill(2, IDS[:9], 0)
    for slots, ids, places in (([2, 0], [4, 5], [9, 5]), ([2], [7], [10])):
        one, other = here.decode(slots, ids, places), there.decode(slots, ids, places).cpu()
        assert torch.allclose(one[:, :57], other[:, :57], atol=far)
