"""Buckets of batch sizes, with an eager stand-in for the graphs; the real ones: tests/gpu."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.lipsync.buckets import Buckets
from tests.unit.runtime.captures import Captures

EXAMPLE = (torch.zeros(1, 3), torch.zeros(1, 2, 4, 4))


def add(left: Tensor, right: Tensor) -> Tensor:
    return left + right.mean(dim=(1, 2, 3))[:, None]


def inputs(rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    return (
        torch.randn(rows, 3, generator=generator),
        torch.randn(rows, 2, 4, 4, generator=generator),
    )


def broken(step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9])
def test_padded_batches_give_what_the_network_gives(rows: int) -> None:
    captures = Captures()
    buckets = Buckets(add, (1, 4), "cpu", EXAMPLE, captures)
    left, right = inputs(rows)
    assert torch.equal(buckets(left, right), add(left, right))
    assert set(captures.rows) <= {1, 4}


def test_each_size_is_recorded_once() -> None:
    captures = Captures()
    buckets = Buckets(add, (4, 1, 2), "cpu", EXAMPLE, captures)
    buckets.warm()
    for rows in (1, 2, 3, 4):
        buckets(*inputs(rows))
    assert captures.rows == [4, 2, 1]


def test_a_result_outlives_the_next_call() -> None:
    buckets = Buckets(add, (2,), "cpu", EXAMPLE, Captures())
    first = buckets(*inputs(2))
    kept = first.clone()
    buckets(*inputs(1))
    assert torch.equal(first, kept)


def test_without_graphs_the_network_gets_the_batch_as_it_is() -> None:
    seen: list[int] = []

    def network(left: Tensor, right: Tensor) -> Tensor:
        seen.append(len(left))
        return add(left, right)

    buckets = Buckets(network, (2, 4), "cpu", EXAMPLE)
    left, right = inputs(7)
    assert torch.equal(buckets(left, right), add(left, right))
    assert seen == [4, 3]


def test_a_graph_that_cannot_be_recorded_leaves_the_network_as_it_is() -> None:
    buckets = Buckets(add, (4,), "cpu", EXAMPLE, broken)
    left, right = inputs(3)
    assert torch.equal(buckets(left, right), add(left, right))


def test_memory_that_runs_out_while_recording_is_told() -> None:
    def full(step: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Buckets(add, (4,), "cpu", EXAMPLE, full)(*inputs(3))


def test_buffers_keep_the_memory_layout() -> None:
    strides: list[tuple[int, ...]] = []

    def network(picture: Tensor) -> Tensor:
        strides.append(picture.stride())
        return picture.clone()

    example = torch.zeros(1, 2, 4, 4).contiguous(memory_format=torch.channels_last)
    Buckets(network, (2,), "cpu", [example], broken)(torch.ones(2, 2, 4, 4))
    assert strides[-1] == (32, 1, 8, 2)


@pytest.mark.parametrize(
    ("left", "right"), [((0, 3), (0, 2, 4, 4)), ((2, 3), (1, 2, 4, 4)), ((2, 4), (2, 2, 4, 4))]
)
def test_shapes_that_do_not_agree_are_refused(
    left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="rows"):
        Buckets(add, (2,), "cpu", EXAMPLE, Captures())(torch.zeros(left), torch.zeros(right))


def test_no_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Buckets(add, (), "cpu", EXAMPLE)
