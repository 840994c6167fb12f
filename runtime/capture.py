"""Recording of CUDA work as a graph, which runs again with one launch.

What it is not: a choice of what is recorded (models/text/graphs.py, models/lipsync/buckets.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

#: Takes a step without arguments; gives a function that runs it again, and its (static) result.
Capture = Callable[[Callable[[], Tensor]], tuple[Callable[[], None], Tensor]]


def capture_cuda(step: Callable[[], Tensor], pool: Any = None) -> tuple[Callable[[], None], Tensor]:
    """Record a step as a CUDA graph. Its first runs, outside of the graph, let libraries settle.

    `pool` (of `torch.cuda.graph_pool_handle`): memory that graphs share which never run at once.
    """
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Other threads may use the device meanwhile (ONNX Runtime does).
    with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
        out = step()
    return graph.replay, out
