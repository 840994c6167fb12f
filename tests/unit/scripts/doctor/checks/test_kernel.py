"""torch against driver and GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.doctor.checks import kernel
from tests.integration.breakage import TORCH


@pytest.mark.parametrize(
    ("archs", "capability", "good"),
    [
        (["sm_80", "sm_90"], "9.0", True),
        (["sm_80"], "8.9", True),  # binaries run on later minor versions
        (["sm_86"], "8.0", False),
        (["sm_80", "sm_90"], "12.0", False),
        (["sm_80", "compute_90"], "12.0", True),  # PTX is compiled for what came later
        (["compute_90"], "8.0", False),
        (["sm_90a"], "9.0", True),
        (["sm_100a"], "10.3", False),  # "a": that one card only
        (["sm_120"], "12.0", True),
        ([], "9.0", False),
        (["sm_"], "9.0", False),
    ],
)
def test_which_gpus_a_build_runs_on(archs: list[str], capability: str, good: bool) -> None:
    assert kernel.runs_on(archs, capability) is good


def test_two_files_of_one_cuda_library_in_a_process_are_seen() -> None:
    line = "7f0-7f1 r-xp 00000000 08:01 12 {}\n"
    wheel, system = "/venv/nvidia/cudnn/lib/libcudnn.so.9", "/usr/lib/libcudnn.so.8"
    maps = line.format(wheel) * 2 + line.format("/lib/libc.so.6") + "7f0-7f1 rw-p 00 00:00 0 \n"
    assert kernel.mixed_libraries(maps) == []
    assert kernel.mixed_libraries(maps + line.format(system)) == [f"libcudnn: {system} and {wheel}"]


def test_a_kernel_on_another_gpu_runs_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = TORCH.format(cuda="13.0", archs=[], cudnn="return 1")
    (tmp_path / "torch.py").write_text(stub)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    finding = kernel.elsewhere("3")
    assert finding.code == "kernel-failed"
    assert "GPU 3: server.device.DeviceError: torch cannot use the GPU" in finding.text
    monkeypatch.setattr(
        kernel, "_ELSEWHERE", "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    )
    assert kernel.elsewhere("3").text == "a matrix product ran on 3 (GPU 3)"
