"""The doctor where there is a GPU: a real driver, a real kernel, a real CUDA session."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from server.slots import nvidia_gpus
from tests.integration.server import ROOT

pytestmark = pytest.mark.gpu


def test_driver_kernel_and_onnx_runtime_work_together() -> None:
    import torch

    if not nvidia_gpus() or not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    checks = "driver,slots,kernel,providers,encoder"
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "check_gpu_gunicorn.py", "--json", "--only", checks],
        capture_output=True,
        text=True,
        check=False,
    )
    said = {one["check"]: one["text"] for one in json.loads(ran.stdout)["findings"]}
    assert "problem" not in {one["level"] for one in json.loads(ran.stdout)["findings"]}, ran.stdout
    assert "compute capability" in said["driver"]
    assert "a matrix product ran on" in said["kernel"]
    assert "runs on CUDAExecutionProvider" in said["providers"]
    assert "NVENC" in said["encoder"]
