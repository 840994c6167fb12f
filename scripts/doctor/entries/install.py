"""The book's entries about the installation: interpreter and packages. Data only.

What it is not: the looking (scripts/doctor/checks).
"""

from __future__ import annotations

from scripts.doctor.entry import Entry, Level

_BAD, _ODD = Level.PROBLEM, Level.WARNING
_SETUP = "rm -rf .venv && scripts/setup.sh"

INSTALL = (
    Entry(
        "python-broken",
        "python",
        _BAD,
        "`.venv/bin/python: No such file or directory`, or the server's Python does not start",
        "The interpreter of the installation is gone or damaged, often after an upgrade of the"
        " system's Python.",
        _SETUP,
    ),
    Entry(
        "python-old",
        "python",
        _BAD,
        "`SyntaxError` or `ImportError: cannot import name 'StrEnum'` at the start",
        "The code needs Python 3.11 or newer.",
        "install Python 3.11 or newer (Debian: apt-get install python3.11 python3.11-venv), then"
        f" {_SETUP}",
    ),
    Entry(
        "package-missing",
        "packages",
        _BAD,
        "`ModuleNotFoundError` at the start",
        "A package of requirements.txt is not installed in the server's Python.",
        "{python} -m pip install -r requirements.txt (without .venv: scripts/setup.sh)",
    ),
    Entry(
        "package-version",
        "packages",
        _ODD,
        "Errors inside libraries, after something else was installed beside the server",
        "A package has another version than the one that the server is tested with.",
        "{python} -m pip install -r requirements.txt",
    ),
    Entry(
        "package-clash",
        "packages",
        _BAD,
        "ONNX models run on the CPU though `onnxruntime-gpu` is installed",
        "onnxruntime and onnxruntime-gpu are one module: the one that was installed last wins, and"
        " the CPU's hides the GPU's.",
        "{python} -m pip uninstall -y onnxruntime onnxruntime-gpu && {python} -m pip install -r"
        " requirements.txt",
    ),
    Entry(
        "cuda-package-version",
        "packages",
        _BAD,
        "`CUDNN_STATUS_NOT_INITIALIZED`, `undefined symbol`, or a crash at the first model",
        "A CUDA or cuDNN package has another version than torch was built for; pip does not mind"
        " when another package asks for it.",
        "{python} -m pip install '{wanted}'",
    ),
    Entry(
        "package-broken",
        "imports",
        _BAD,
        "`ImportError`, `cannot open shared object file` or a crash at the start",
        "A package is installed and cannot be imported: its files are damaged, or a library of the"
        " system that it needs is missing.",
        "{python} -m pip install --force-reinstall --no-deps '{package}'; a missing lib….so comes"
        " from the system's packages",
    ),
    Entry(
        "check-crashed",
        "any",
        _BAD,
        "`Segmentation fault`, `Worker was sent SIGSEGV` or `Illegal instruction`",
        "Native code ended the process at this point, and would end a worker as well: a damaged"
        " package, a driver that does not fit, or a processor without the instructions it needs.",
        "reinstall the package that is named (pip install --force-reinstall), then the driver; look"
        " into dmesg",
    ),
    Entry(
        "check-hung",
        "any",
        _BAD,
        "The start hangs, or workers are ended by BOOT_TIMEOUT_S",
        "A call did not come back: a driver or a GPU that hangs, a network disk that does not"
        " answer, a host that drops packets.",
        "look at dmesg, nvidia-smi and the mounts; the same alone:"
        " scripts/check_gpu_gunicorn.py --only {check}",
    ),
    Entry(
        "check-failed",
        "any",
        _ODD,
        "A line `the check itself failed` in the doctor's report",
        "The doctor met something that it does not know.",
        "report the line with the summary below",
    ),
)
