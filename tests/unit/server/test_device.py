"""The device: a GPU that works, or the CPU with its reason."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime import precision
from server.device import (
    BootError,
    DeviceError,
    count_devices,
    device_memory,
    needs_gpu,
    open_device,
    run_kernel,
    tune,
)
from server.gpuconfig import GpuPlan
from server.settings import load_settings
from server.slots import Slot
from server.state import DeviceReport

GPU = Slot(1, "3", "DEVICE_SLOTS")
CPU = Slot(0, "", "no NVIDIA GPU was found")


def broken() -> int:
    raise DeviceError("the CUDA driver sees no device")


def no_image() -> DeviceReport:
    raise DeviceError("torch cannot use the GPU: no kernel image")


def works() -> DeviceReport:
    return DeviceReport(kind="cuda", name="H200", gpu_count=1)


def test_a_gpu_on_which_a_kernel_ran_is_reported_with_its_slot() -> None:
    report = open_device(load_settings(), GPU, lambda: 1, works)
    assert (report.kind, report.name, report.slot) == ("cuda", "H200", 1)
    assert report.cuda_visible_devices == "3"


def test_a_cpu_slot_is_the_cpu_and_says_why() -> None:
    report = open_device(load_settings(), CPU)
    assert (report.kind, report.why) == ("cpu", "no NVIDIA GPU was found")
    assert report.onnx_providers == ("CPUExecutionProvider",)


@pytest.mark.parametrize(("driver", "kernel"), [(broken, works), (lambda: 1, no_image)])
def test_a_gpu_that_does_not_work_falls_back_to_the_cpu_and_says_why(
    driver: object, kernel: object
) -> None:
    report = open_device(load_settings(), GPU, driver, kernel)  # type: ignore[arg-type]
    assert report.kind == "cpu"
    assert "no device" in report.why or "no kernel image" in report.why


@pytest.mark.parametrize(
    ("settings", "name"),
    [({"REQUIRE_GPU": True}, "REQUIRE_GPU=1"), ({"DEVICE": "cuda"}, "DEVICE=cuda")],
)
def test_where_a_gpu_is_asked_for_the_boot_ends_with_cause_and_remedy(
    settings: dict[str, object], name: str
) -> None:
    with pytest.raises(BootError, match=f"{name}, but no GPU.*no NVIDIA GPU.*nvidia-smi") as info:
        open_device(load_settings(**settings), CPU)
    assert info.value.final


def test_without_such_a_setting_no_gpu_is_needed() -> None:
    assert needs_gpu(load_settings()) == ""


def test_a_machine_without_the_driver_says_so() -> None:
    with pytest.raises(DeviceError, match="no CUDA driver"):
        count_devices("libno_such_driver.so.1")


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """Source folder for small stand-ins of libcuda."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    return tmp_path


@pytest.mark.parametrize(
    ("init", "count", "words"),
    [(100, 0, "answers error 100"), (0, 0, "sees no device"), (0, 2, "")],
)
def test_the_driver_s_answers_are_understood(stub: Path, init: int, count: int, words: str) -> None:
    source = stub / "cuda.c"
    source.write_text(
        f"int cuInit(unsigned f){{return {init};}}\n"
        f"int cuDeviceGetCount(int *n){{*n = {count}; return 0;}}\n"
    )
    library = stub / f"libstub{init}{count}.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, source], check=True)
    if words:
        with pytest.raises(DeviceError, match=words):
            count_devices(str(library))
    else:
        assert count_devices(str(library)) == count


def test_torch_without_a_gpu_is_a_device_error() -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(DeviceError, match="torch cannot use the GPU"):
        run_kernel()


@pytest.mark.gpu
def test_a_real_kernel_runs_and_its_figures_are_reported() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    report = device_memory(run_kernel())
    assert report.kind == "cuda"
    assert report.memory_allocated_bytes is not None


def test_choosing_the_cpu_does_not_import_torch() -> None:
    code = (
        "import sys\nfrom server.device import open_device\nfrom server.settings import *\n"
        "from server.slots import Slot\n"
        "print(open_device(load_settings(), Slot(0, '', 'none')).kind, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["cpu", "False"]


def test_the_cpu_has_no_memory_figures() -> None:
    report = DeviceReport()
    assert device_memory(report) is report


@pytest.fixture
def policy() -> Iterator[None]:
    import torch

    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = precision.current()
    flags = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    yield
    precision.set_policy(before)
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = flags


@pytest.mark.usefixtures("policy")
def test_on_a_cpu_the_plan_sets_the_precision_and_nothing_of_cuda() -> None:
    settings = tune(GpuPlan(workers=2, batch=6, amp=False), load_settings(), DeviceReport())
    assert (settings.batch_size_per_gpu, settings.gunicorn_workers) == (6, 2)
    assert not precision.current().amp


@pytest.mark.usefixtures("policy")
@pytest.mark.parametrize(("amp", "fraction"), [(True, 0.9), (False, None)])
def test_on_a_gpu_the_plan_s_memory_and_precision_are_put_into_force(
    monkeypatch: pytest.MonkeyPatch, amp: bool, fraction: float | None
) -> None:
    import torch

    shares: list[tuple[float, int]] = []
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, of: shares.append((share, of))
    )
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda _number: SimpleNamespace(total_memory=24 * 1024**3),
    )
    gpus = GpuPlan(by_memory=True, memory_fraction=fraction, amp=amp, cudnn_benchmark=amp)
    settings = tune(gpus, load_settings(), DeviceReport(kind="cuda"))
    assert settings.batch_size_per_gpu == 8
    assert shares == ([] if fraction is None else [(fraction, 0)])
    assert torch.backends.cudnn.benchmark is amp
    assert torch.backends.cuda.matmul.allow_tf32 is amp
    assert precision.current() == precision.Policy(amp, amp)
