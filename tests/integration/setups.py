"""Broken set-ups for the doctor: what is broken, and the findings that must name it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from tests.integration.breakage import (
    POSTGRES,
    ROOT,
    Arrange,
    Gpu,
    database,
    dist,
    gpu,
    held_lease,
    just,
    mounted,
    other_python,
    taken_port,
    with_files,
)


@dataclass(frozen=True)
class SetUp:
    """One row. `codes`: exactly these findings; `words` must be in the report."""

    name: str
    only: str
    codes: tuple[str, ...]
    words: tuple[str, ...]
    arrange: Arrange


CONFIG = (ROOT / "gunicorn.conf.py").read_text(encoding="utf-8")
BUSY = "--reload --bind 127.0.0.1:9 --max-requests 9 --timeout 5 --threads 2 --keep-alive 300"
TRAPS = ("max-requests", "timeout-short", "threads-few", "keepalive-long", "reload-on")
SEGV = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
ON_GPU = "driver,slots,kernel"

SETUPS = (
    SetUp(
        "an interpreter that is gone",
        "packages",
        ("python-broken",),
        ("does not run", "scripts/setup.sh"),
        just("--python", "/nonexistent/python"),
    ),
    SetUp(
        "a Python without the packages",
        "packages,settings",
        ("package-missing",),
        ("flask, apiflask", "pip install -r requirements.txt", "mend packages first"),
        other_python,
    ),
    SetUp(
        "packages of other versions, twins, and a cuDNN that torch was not built for",
        "packages",
        ("package-version", "package-clash", "cuda-package-version"),
        ("structlog 1.0 (wanted: ==26", "both onnxruntime", "nvidia-cudnn-cu13 9.1.0 is installed"),
        with_files(
            {
                **dist("structlog", "1.0"),
                **dist("onnxruntime", "1.31.1"),
                **dist("nvidia-cudnn-cu13", "9.1.0"),
                **dist("torch", "2.13.0", "Requires-Dist: nvidia-cudnn-cu13 (==9.20.0.48)"),
            },
            PYTHONPATH="{folder}",
        ),
    ),
    SetUp(
        "a package that cannot be imported",
        "imports,providers",
        ("package-broken",),
        ("onnxruntime-gpu cannot be imported: ImportError: libfoo.so.2", "mend imports first"),
        with_files(
            {"onnxruntime.py": "raise ImportError('libfoo.so.2: cannot open shared object file')"},
            PYTHONPATH="{folder}",
        ),
    ),
    SetUp(
        "a package that crashes",
        "imports",
        ("check-crashed",),
        ("at structlog, crashed: SIGSEGV",),
        with_files({"structlog.py": SEGV}, PYTHONPATH="{folder}"),
    ),
    SetUp(
        "a setting that is not allowed",
        "settings,ports",
        ("settings-refused",),
        ("GUNICORN_THREADS='none'", "mend settings first"),
        just(GUNICORN_THREADS="none"),
    ),
    SetUp(
        "a model that does not exist",
        "settings",
        ("settings-refused",),
        ("no lip-sync model is called 'wav2lop'",),
        just(LIPSYNC_MODEL="wav2lop"),
    ),
    SetUp(
        "names that nothing reads, and an open door",
        "settings",
        ("setting-unknown", "setting-unknown", "open-to-all"),
        ("GUNICORN_TIMOUT", "set GUNICORN_TIMEOUT instead", "unset GUNICORN_ACCESS_LOGFILE"),
        just(GUNICORN_TIMOUT="5", GUNICORN_ACCESS_LOGFILE="-", HOST="0.0.0.0"),
    ),
    SetUp(
        "options that Gunicorn does not know",
        "gunicorn",
        ("gunicorn-args",),
        ("unrecognized arguments: --no-such-option",),
        just(GUNICORN_CMD_ARGS="--no-such-option"),
    ),
    SetUp(
        "the app preloaded, the wrong class and too many workers",
        "gunicorn",
        ("preload-on", "worker-class", "workers-over-slots"),
        ("preload_app=True", "worker class 'gevent'", "3 workers for 1 device slot", "=1"),
        just("--", "-k", "gevent", GUNICORN_PRELOAD="true", GUNICORN_WORKERS="3"),
    ),
    SetUp(
        "traps of the command line, and a name that Gunicorn passes over",
        "gunicorn",
        (*TRAPS, "bind-differs", "config-name-ignored"),
        ("max_requests=9", "Gunicorn binds 127.0.0.1:9", "max_worker_memory in gunicorn.conf.py"),
        with_files(
            {"gunicorn.conf.py": f"{CONFIG}\nmax_worker_memory = 1000\n"},
            "--config",
            "{folder}/gunicorn.conf.py",
            GUNICORN_CMD_ARGS=BUSY,
        ),
    ),
    SetUp(
        "a configuration that cannot be read",
        "gunicorn",
        ("gunicorn-config",),
        ("NameError: name 'wrokers' is not defined",),
        with_files(
            {"gunicorn.conf.py": "workers = wrokers\n"}, "--config", "{folder}/gunicorn.conf.py"
        ),
    ),
    SetUp(
        "a driver whose library does not fit it, and NVML neither",
        "driver",
        ("driver-error", "nvml-mismatch"),
        ("cuInit answers 803", "reboot the host", "version mismatch"),
        gpu(Gpu(init=803, nvml=18)),
    ),
    SetUp(
        "a GPU that others fill and nobody may use, and one that is not there",
        "driver,slots",
        ("compute-prohibited", "gpu-memory-taken", "slot-unknown"),
        ("1.0 of 24.0 GiB are free", "nvidia-smi -i 0 -c DEFAULT", "no GPU 7; there are: 0"),
        gpu(Gpu(free_gib=1, mode=2), DEVICE_SLOTS="7"),
    ),
    SetUp(
        "GPUs that are hidden",
        "driver,slots",
        ("gpus-hidden",),
        ("2 GPU(s) are there, and CUDA_VISIBLE_DEVICES='' hides all",),
        gpu(Gpu(), smi=2, CUDA_VISIBLE_DEVICES=""),
    ),
    SetUp(
        "GPUs that idle, and an NVML that fails",
        "driver,slots",
        ("nvml-error", "gpus-idle"),
        ("1 worker(s) for 4 GPUs", "GPU_CONFIG=multi_gpu"),
        gpu(Gpu(nvml=9), smi=4),
    ),
    SetUp(
        "a GPU that is asked for and not there",
        "driver,slots",
        ("gpu-required",),
        ("REQUIRE_GPU=1, and there is no GPU: DEVICE=cpu", "unset REQUIRE_GPU"),
        just(REQUIRE_GPU="1", DEVICE="cpu"),
    ),
    SetUp(
        "a process that holds the device",
        "slots",
        ("lease-held",),
        (f"cpu is held by process {os.getpid()}", f"kill {os.getpid()}"),
        held_lease,
    ),
    SetUp(
        "a torch for CPUs on a GPU host",
        ON_GPU,
        ("torch-cpu-build",),
        ("torch 2.13.0 is for CPUs, and the driver shows a GPU",),
        gpu(Gpu(), {"cuda": None}),
    ),
    SetUp(
        "a driver that is too old for torch",
        ON_GPU,
        ("driver-old",),
        ("torch needs CUDA 13.0, and the driver knows 12",),
        gpu(Gpu(version=12040), {}),
    ),
    SetUp(
        "a torch without kernels for the GPU, and with another cuDNN",
        ON_GPU,
        ("cudnn-mismatch", "arch-unsupported"),
        ("compute capability 9.0, torch has sm_70, sm_80", "sm_90", "cuDNN version incompat"),
        gpu(
            Gpu(),
            {
                "archs": ["sm_70", "sm_80"],
                "cudnn": "raise RuntimeError('cuDNN version incompatibility: 9.1 found')",
            },
        ),
    ),
    SetUp(
        "a GPU on which no kernel runs",
        ON_GPU,
        ("kernel-failed",),
        ("torch cannot use the GPU: CUDA error: an illegal memory access",),
        gpu(Gpu(), {}),
    ),
    SetUp(
        "an ONNX Runtime that falls back to the CPU in silence",
        "driver,providers",
        ("onnx-cuda-failed",),
        ("on CPUExecutionProvider though CUDAExecutionProvider was asked for",),
        gpu(Gpu(), {}),
    ),
    SetUp(
        "weights that are missing, another file and a web page, and a checkpoint that is not there",
        "weights",
        ("model-differs", "model-no-model", "model-missing", "checkpoint-missing"),
        (
            "has 1 bytes, should have 232589",
            "is a web page",
            "musetalk: diffusion_pytorch_model.bin is missing",
            "--only musetalk",
            "MODEL_CHECKPOINT names /nonexistent/ckpt.pt",
        ),
        with_files(
            {
                "face_detection_yunet_2023mar.onnx": "x",
                "whisper/pytorch_model.bin": "<!DOCTYPE html><title>Sign in</title>",
                "musetalk/pytorch_model.bin": "a file of the user's",
            },
            WEIGHTS_DIR="{folder}",
            LIPSYNC_MODEL="musetalk",
            MODEL_CHECKPOINT="/nonexistent/ckpt.pt",
        ),
    ),
    SetUp(
        "a port that is taken",
        "ports",
        ("port-taken",),
        (f"is taken by process {os.getpid()}", "ss -ltnp"),
        taken_port,
    ),
    SetUp(
        "an address of another machine",
        "ports",
        ("port-refused",),
        ("on 192.0.2.1: Cannot assign requested address", "HOST=127.0.0.1"),
        just(HOST="192.0.2.1"),
    ),
    SetUp(
        "a full disk",
        "folders",
        ("disk-full",),
        ("below MIN_FREE_DISK_BYTES=268435456", "df -h"),
        mounted("mount -t tmpfs -o size=1m tmpfs {folder}", DATA_DIR="{folder}"),
    ),
    SetUp(
        "a disk with too little room for an upload",
        "folders",
        ("disk-low",),
        ("too little for an upload of MAX_UPLOAD_BYTES=1000000000000000",),
        just(MAX_UPLOAD_BYTES="1000000000000000"),
    ),
    SetUp(
        "a data folder that is read-only",
        "folders",
        ("data-read-only",),
        ("Read-only file system", "remount,rw"),
        mounted(
            "mount -t tmpfs -o size=4g tmpfs {folder} && mkdir {folder}/run"
            " && mount -o remount,ro {folder}",
            DATA_DIR="{folder}",
        ),
    ),
    SetUp(
        "too little shared memory",
        "memory",
        ("shm-small",),
        ("1 of 1 MiB are free in /dev/shm", "--shm-size=8g"),
        mounted("mount -t tmpfs -o size=1m tmpfs /dev/shm"),
    ),
    SetUp(
        "a database that does not answer",
        "database",
        ("database-unreachable",),
        ("postgresql+psycopg2://joe:***@127.0.0.1:9/jobs", "Connection refused (***)"),
        with_files(
            {"psycopg2.py": POSTGRES},
            PYTHONPATH="{folder}",
            DATABASE_URL="postgresql+psycopg2://joe:verysecret@127.0.0.1:9/jobs",
        ),
    ),
    SetUp(
        "a database whose driver is not there",
        "database",
        ("database-driver",),
        ("No module named 'pg8000'", "psycopg[binary]"),
        just(DATABASE_URL="postgresql+pg8000://joe:verysecret@db/jobs"),
    ),
    SetUp(
        "a database that is damaged",
        "database",
        ("database-damaged",),
        ("file is not a database", ".damaged"),
        with_files({"mouthpiece.db": "no database" * 500}, DATA_DIR="{folder}"),
    ),
    SetUp(
        "a database of a newer version",
        "database",
        ("database-newer",),
        ("has version 9999, unknown to this code",),
        database(
            "CREATE TABLE alembic_version (version_num TEXT)",
            "INSERT INTO alembic_version VALUES ('9999')",
        ),
    ),
    SetUp(
        "a database that another process has locked",
        "database",
        ("database-locked",),
        ("database is locked", "fuser -v"),
        database("CREATE TABLE held (x)", "BEGIN EXCLUSIVE"),
    ),
    SetUp(
        "a master in which something imports OpenCV",
        "trial",
        ("master-heavy",),
        ("the master has cv2 in its memory", "sitecustomize"),
        with_files(
            {
                "sitecustomize.py": "import sys\n"
                "if 'gunicorn.conf.py' in ' '.join(sys.orig_argv):\n    import cv2\n"
            },
            PYTHONPATH="{folder}",
        ),
    ),
    SetUp(
        "a master in which CUDA is initialised",
        "trial",
        ("server-refused",),
        ("exit code 2: CUDA is already initialised in the master",),
        gpu(Gpu(), DEVICE="cpu"),
    ),
)
