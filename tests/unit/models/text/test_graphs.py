"""Buckets of CUDA graphs, with an eager stand-in for the capture; one real run on a GPU."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.text.base import Precision
from models.text.cache import Cache
from models.text.graphs import Graphs, buckets, windows
from models.text.network import make_network
from tests.unit.models.text.test_network import CLOSE, IDS, SMALL, network, random_state


class Captures:
    """Runs the step again at every replay, into the same tensor, as a graph does."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __call__(self, step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        out = step().clone()
        self.rows.append(len(out))

        def replay() -> None:
            out.copy_(step())

        return replay, out


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
