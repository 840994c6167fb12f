"""NVML where there is a GPU: the device that torch uses is found by its UUID, with its memory."""

from __future__ import annotations

import pytest

from server.device import run_kernel
from server.nvml import Nvml
from server.slots import nvidia_gpus

pytestmark = pytest.mark.gpu


def test_nvml_finds_the_gpu_that_torch_uses() -> None:
    import torch

    if not nvidia_gpus() or not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    reading = Nvml(run_kernel().uuid).read()
    assert reading is not None
    assert reading.used_bytes is not None
    assert reading.total_bytes is not None
    total = torch.cuda.get_device_properties(0).total_memory
    assert total <= reading.total_bytes < 1.1 * total
    assert torch.cuda.memory_reserved() <= reading.used_bytes <= reading.total_bytes
    assert reading.utilization is None or 0 <= reading.utilization <= 1
