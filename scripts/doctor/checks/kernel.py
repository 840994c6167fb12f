"""A real kernel: does torch fit the driver and the GPU, and does it count right there?

What it is not: a benchmark. Runs in a process of its own, which then owns a CUDA context.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import ROOT, Look
from server.device import DeviceError, run_kernel
from server.gpuconfig import plan_gpus
from server.settings import child_environment, load_settings, pin_device, visible_devices
from server.slots import find_slots

_ELSEWHERE = "from server.device import run_kernel; print(run_kernel().name)"
_LIBRARIES = ("libcudart.", "libcudnn.", "libcublas.", "libcublasLt.", "libcufft.", "libnvrtc.")


def check(look: Look) -> Iterator[str | Finding]:
    """Run one on the first slot's GPU, and without --quick on each."""
    settings = load_settings()
    slots = plan_gpus(settings, find_slots(settings, visible_devices())).slots
    slot = slots[0]
    if not slot.device or not look.facts.get("cuda_devices"):
        yield nice("no GPU for torch: nothing to run")
        return
    pin_device(slot.device)
    import torch

    wrong = list(unfit(torch, look))
    yield from wrong
    if wrong:
        return
    try:
        report = run_kernel()
    except DeviceError as error:
        yield found("kernel-failed", f"GPU {slot.device}: {error}")
        return
    mixed = mixed_libraries(Path("/proc/self/maps").read_text(encoding="utf-8"))
    if mixed:
        yield found("cuda-libraries-mixed", "; ".join(mixed))
    yield nice(f"a matrix product ran on {report.name}, torch {torch.__version__}")
    for other in () if look.quick else slots[1:]:
        yield f"GPU {other.device}"
        yield elsewhere(other.device)


def elsewhere(device: str) -> Finding:
    """The same on another GPU: a process sees one only."""
    ran = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE],
        cwd=ROOT,
        env=child_environment(CUDA_VISIBLE_DEVICES=device),
        capture_output=True,
        text=True,
        check=False,
    )
    if ran.returncode == 0:
        return nice(f"a matrix product ran on {ran.stdout.strip()} (GPU {device})")
    last = (ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"])[-1]
    return found("kernel-failed", f"GPU {device}: {last}")


def unfit(torch: Any, look: Look) -> Iterator[Finding]:
    """What keeps this torch from this driver and these GPUs."""
    facts, built = look.facts, torch.version.cuda
    if built is None:
        text = f"torch {torch.__version__} is for CPUs, and the driver shows a GPU"
        yield found("torch-cpu-build", text, python=look.python)
        return
    version = int(facts.get("cuda_version", 0))
    # Within a major version newer libraries run on older drivers (CUDA's minor compatibility).
    if version and int(built.split(".")[0]) > version // 1000:
        text = f"torch needs CUDA {built}, and the driver knows {version // 1000}"
        yield found("driver-old", text, cuda=built)
        return
    try:
        torch.backends.cudnn.version()
    except RuntimeError as error:
        yield found("cudnn-mismatch", str(error).split("\n")[0], python=look.python)
    yield from _archs(torch.cuda.get_arch_list(), facts)


def _archs(archs: Sequence[str], facts: Mapping[str, Any]) -> Iterator[Finding]:
    for gpu in facts.get("gpus", []):
        capability = gpu["capability"]
        if not runs_on(archs, capability):
            text = (
                f"{gpu['name']} has compute capability {capability}, torch has {', '.join(archs)}"
            )
            yield found("arch-unsupported", text, arch=f"sm_{capability.replace('.', '')}")


def runs_on(archs: Sequence[str], capability: str) -> bool:
    """Whether code for these architectures runs on a GPU: binaries within a major version from
    their minor one on, PTX ("compute_") on all later ones.
    """
    major, minor = (int(part) for part in capability.split("."))
    for arch in archs:
        kind, _, digits = arch.partition("_")
        number = "".join(char for char in digits if char.isdigit())
        if not number:
            continue
        of_major, of_minor = int(number[:-1] or 0), int(number[-1])
        exact = digits.endswith(("a", "f"))
        if kind == "sm" and of_major == major and (of_minor <= minor and not exact):
            return True
        if kind == "sm" and (of_major, of_minor) == (major, minor):
            return True
        if kind == "compute" and (of_major, of_minor) <= (major, minor):
            return True
    return False


def mixed_libraries(maps: str) -> list[str]:
    """CUDA libraries of which a process has two files, from the text of /proc/<pid>/maps."""
    paths = {line.split(maxsplit=5)[5] for line in maps.splitlines() if line.count("/") > 0}
    found_paths: dict[str, set[str]] = {}
    for path in paths:
        name = Path(path).name
        for library in _LIBRARIES:
            if name.startswith(library):
                found_paths.setdefault(library.rstrip("."), set()).add(path)
    return [
        f"{name}: {' and '.join(sorted(files))}"
        for name, files in sorted(found_paths.items())
        if len(files) > 1
    ]
