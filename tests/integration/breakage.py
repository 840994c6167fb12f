"""Ways to break a set-up: files, settings, ports, locks, mounts, and a GPU that is not there.

Each gives the environment, the options and, where a file system has to be mounted first, the
commands to run before. What is broken is real (a compiled libcuda, a taken port, a mounted file
system) wherever that can be done without a GPU; packages that need one are small stand-ins.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Broken:
    """How the doctor is called. `mounts`: shell commands in a private mount namespace, before."""

    env: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    mounts: str = ""


Arrange = Callable[[Path], contextlib.AbstractContextManager[Broken]]


def just(*options: str, **env: str) -> Arrange:
    """Nothing but settings and options."""

    @contextlib.contextmanager
    def arrange(_folder: Path) -> Iterator[Broken]:
        yield Broken(env, options)

    return arrange


def with_files(files: Mapping[str, str], *options: str, **env: str) -> Arrange:
    """Files in the folder; {folder} in settings and options is the folder."""

    @contextlib.contextmanager
    def arrange(folder: Path) -> Iterator[Broken]:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        filled = {name: value.format(folder=folder) for name, value in env.items()}
        yield Broken(filled, tuple(option.format(folder=folder) for option in options))

    return arrange


def mounted(mounts: str, **env: str) -> Arrange:
    """A private mount namespace."""

    @contextlib.contextmanager
    def arrange(folder: Path) -> Iterator[Broken]:
        if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
            pytest.skip("no right to mount a file system here")
        filled = {name: value.format(folder=folder) for name, value in env.items()}
        yield Broken(filled, (), mounts.format(folder=folder))

    return arrange


CUDA = """
int cuInit(unsigned f) {{ return {init}; }}
int cuDriverGetVersion(int *v) {{ *v = {version}; return 0; }}
int cuDeviceGetCount(int *n) {{ *n = {count}; return {answer}; }}
"""
NVML = """
#include <string.h>
typedef struct {{ unsigned long long total, free, used; }} memory_t;
int nvmlInit_v2(void) {{ return {init}; }}
int nvmlDeviceGetCount_v2(unsigned *n) {{ *n = 1; return 0; }}
int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **h) {{ *h = (void *) 1; return 0; }}
int nvmlDeviceGetName(void *h, char *s, unsigned n) {{ strncpy(s, "Stand-in 24GB", n); return 0; }}
int nvmlDeviceGetMemoryInfo(void *h, memory_t *m)
{{ m->total = 24ull << 30; m->free = {free}ull << 30; m->used = m->total - m->free; return 0; }}
int nvmlDeviceGetCudaComputeCapability(void *h, int *a, int *b) {{ *a = 9; *b = 0; return 0; }}
int nvmlDeviceGetComputeMode(void *h, int *m) {{ *m = {mode}; return 0; }}
int nvmlSystemGetDriverVersion(char *s, unsigned n) {{ strncpy(s, "580.1", n); return 0; }}
"""
# What torch looks like to the doctor; {cuda} and {archs} are its build, {body} what else it does.
TORCH = """
from types import SimpleNamespace as N
__version__ = "2.13.0"
version = N(cuda={cuda!r}, git_version="")
def _cudnn():
    {cudnn}
backends = N(cudnn=N(version=_cudnn))
cuda = N(get_arch_list=lambda: {archs!r}, is_available=lambda: True)
def arange(n):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")
"""


@dataclass(frozen=True)
class Gpu:
    """A stand-in for driver and GPU."""

    init: int = 0
    count: int = 1
    answer: int = 0
    version: int = 13000
    nvml: int = 0
    free_gib: int = 23
    mode: int = 0


def gpu(card: Gpu, torch: Mapping[str, object] | None = None, smi: int = 1, **env: str) -> Arrange:
    """A GPU made of a compiled libcuda and libnvidia-ml, an nvidia-smi that lists `smi` GPUs, and
    a torch on PYTHONPATH.
    """

    @contextlib.contextmanager
    def arrange(folder: Path) -> Iterator[Broken]:
        if shutil.which("gcc") is None:
            pytest.skip("gcc is not installed")
        cuda = CUDA.format(
            init=card.init, version=card.version, count=card.count, answer=card.answer
        )
        nvml = NVML.format(init=card.nvml, free=card.free_gib, mode=card.mode)
        compile_library(folder, "libcuda.so.1", cuda)
        compile_library(folder, "libnvidia-ml.so.1", nvml)
        list_gpus(folder, smi)
        found = {"LD_LIBRARY_PATH": str(folder), "PATH": f"{folder}:{os.environ['PATH']}", **env}
        if torch is not None:
            stub = {"cuda": "13.0", "archs": ["sm_90"], "cudnn": "return 91000", **torch}
            (folder / "torch").mkdir()
            (folder / "torch" / "__init__.py").write_text(TORCH.format(**stub))
            found["PYTHONPATH"] = str(folder)
        yield Broken(found)

    return arrange


def compile_library(folder: Path, name: str, source: str) -> None:
    """A shared library of this C source."""
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-w", "-x", "c", "-o", folder / name, "-"],
        input=source.encode(),
        check=True,
    )


def list_gpus(folder: Path, count: int) -> None:
    """An nvidia-smi that lists GPUs."""
    program = folder / "nvidia-smi"
    lines = "".join(f"echo 'GPU {index}: Stand-in (UUID: GPU-{index})'\n" for index in range(count))
    program.write_text(f"#!/bin/sh\n{lines}")
    program.chmod(0o755)


@contextlib.contextmanager
def taken_port(_folder: Path) -> Iterator[Broken]:
    """Another program listens on PORT."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield Broken({"PORT": str(sock.getsockname()[1])})


@contextlib.contextmanager
def held_lease(folder: Path) -> Iterator[Broken]:
    """This process holds the device's lock, and no server answers."""
    (folder / "run").mkdir()
    with (folder / "run" / "device-cpu.lock").open("w") as lock:
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield Broken({"DATA_DIR": str(folder)})


def database(*statements: str) -> Arrange:
    """A SQLite file in which these statements have run."""

    @contextlib.contextmanager
    def arrange(folder: Path) -> Iterator[Broken]:
        with contextlib.closing(
            sqlite3.connect(folder / "mouthpiece.db", isolation_level=None)
        ) as connection:
            for statement in statements:
                connection.execute(statement)
            yield Broken({"DATA_DIR": str(folder)})

    return arrange


# psycopg as far as SQLAlchemy asks it before a connection; the connection itself is a real one.
POSTGRES = """
import socket
__version__, paramstyle, apilevel = "3.2.0 (stub)", "pyformat", "2.0"
class Error(Exception): pass
class OperationalError(Error): pass
class ProgrammingError(Error): pass
InterfaceError = DatabaseError = DataError = IntegrityError = Error
InternalError = NotSupportedError = Error
extensions = extras = None
def connect(*args, host=None, port=5432, password=None, **more):
    try:
        socket.create_connection((host, int(port)), 2)
    except OSError as error:
        raise OperationalError(f"connection to {host} failed: {error} ({password})") from None
"""


@contextlib.contextmanager
def other_python(folder: Path) -> Iterator[Broken]:
    """An interpreter without any package."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "bare"], check=True)
    yield Broken({}, ("--python", str(folder / "bare" / "bin" / "python")))


def dist(name: str, version: str, *lines: str) -> dict[str, str]:
    """What pip leaves behind of an installed distribution."""
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    return {f"{name.replace('-', '_')}-{version}.dist-info/METADATA": head + "\n".join(lines)}
