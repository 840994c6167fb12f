"""A network called in batches of a few fixed sizes: on CUDA one recorded graph per size.

What it is not: the batching of items (lane.py), or a network. On the CPU the network is called as
it is: nothing is gained by padding there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import structlog
import torch
from torch import Tensor

from runtime.capture import Capture, capture_cuda

_log = structlog.get_logger("models.lipsync.buckets")

#: Tensors [rows, ...] in, a tensor [rows, ...] out; row i depends on row i of the inputs alone.
Network = Callable[..., Tensor]


class Buckets:
    """`fn` in batches of `sizes`. One thread at a time.

    On "cuda" inputs are copied into fixed buffers, padded to the next size with what is left there
    of earlier calls, and the size's graph runs; where a graph cannot be recorded, `fn` itself runs
    on the padded batch, and a line in the log says so. More rows than the largest size go in parts.
    """

    def __init__(
        self,
        fn: Network,
        sizes: Sequence[int],
        device: str,
        example: Sequence[Tensor],
        capture: Capture | None = None,
    ) -> None:
        """Make buckets.

        Args:
            fn: the network, on `device`.
            sizes: rows per call, e.g. (1, 2, 4, 8, 16).
            device: "cpu" or "cuda".
            example: one tensor per argument of `fn`, of any number of rows: gives shape, type and
                memory layout.
            capture: records a graph; the tests replace it. None: the device's own way.
        """
        if not sizes or min(sizes) < 1:
            raise ValueError(f"bucket sizes {tuple(sizes)}: at least one, each at least 1, needed")
        self.sizes = tuple(sorted(set(sizes)))
        self._fn = fn
        self._shapes = [tuple(tensor.shape[1:]) for tensor in example]
        self._capture = capture
        if capture is None and device == "cuda":
            self._capture = partial(capture_cuda, pool=torch.cuda.graph_pool_handle())
        self._made: dict[int, tuple[Callable[[], None], Tensor] | None] = {}
        most = self.sizes[-1]
        self._inputs = [_like(tensor, most, device) for tensor in example] if self._capture else []
        self._example = [_like(tensor, 1, device) for tensor in example]

    def __call__(self, *tensors: Tensor) -> Tensor:
        """The network's result [rows, ...], a tensor of its own.

        Raises:
            ValueError: the tensors' rows or shapes do not agree with each other or the example.
        """
        rows = self._rows(tensors)
        most = self.sizes[-1]
        with torch.inference_mode():
            if rows <= most:
                return self._run(tensors, rows)
            parts = [
                self._run([tensor[at : at + most] for tensor in tensors], min(most, rows - at))
                for at in range(0, rows, most)
            ]
            return torch.cat(parts)

    def warm(self) -> None:
        """Run every size once, the largest first: records the graphs and settles the libraries."""
        for size in reversed(self.sizes):
            self(*(tensor.expand(size, *tensor.shape[1:]) for tensor in self._example))

    def _rows(self, tensors: Sequence[Tensor]) -> int:
        shapes = [tuple(tensor.shape) for tensor in tensors]
        rows = shapes[0][0] if shapes and shapes[0] else 0
        if rows < 1 or shapes != [(rows, *shape) for shape in self._shapes]:
            wanted = [["rows", *shape] for shape in self._shapes]
            raise ValueError(f"inputs of shapes {shapes}: {wanted} is needed, rows at least 1")
        return rows

    def _run(self, tensors: Sequence[Tensor], rows: int) -> Tensor:
        if self._capture is None:
            return self._fn(*tensors)
        size = next(size for size in self.sizes if size >= rows)
        for buffer, tensor in zip(self._inputs, tensors, strict=True):
            buffer[:rows].copy_(tensor, non_blocking=True)
        if size not in self._made:
            self._made[size] = self._record(self._capture, size)
        made = self._made[size]
        if made is None:
            return self._step(size)[:rows]
        replay, out = made
        replay()
        return out[:rows].clone()

    def _record(self, capture: Capture, size: int) -> tuple[Callable[[], None], Tensor] | None:
        try:
            return capture(lambda: self._step(size))
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise  # the lane halves the batch
            _log.warning("no CUDA graph for this batch size", rows=size, error=str(error))
            return None

    def _step(self, size: int) -> Tensor:
        return self._fn(*(buffer[:size] for buffer in self._inputs))


def _like(tensor: Tensor, rows: int, device: str) -> Tensor:
    """Zeros [rows, ...] in the type and memory layout of `tensor`."""
    last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    made = torch.zeros((rows, *tensor.shape[1:]), dtype=tensor.dtype, device=device)
    return made.contiguous(memory_format=torch.channels_last) if last else made
