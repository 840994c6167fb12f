"""Imports: can the packages be loaded at all?

What it is not: a use of them. Each name is told before it is imported, so that a crash or a hang is
put down to the right one.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from scripts.doctor.checks.packages import requirements
from scripts.doctor.finding import Finding, found, nice
from scripts.doctor.look import ROOT, Look

#: Modules of distributions whose name is another one.
MODULES = {
    "nvidia-ml-py": "pynvml",
    "opencv-python-headless": "cv2",
    "onnxruntime-gpu": "onnxruntime",
    "pillow": "PIL",
    "scikit-image": "skimage",
}
# Seconds each: --quick leaves them out.
_HEAVY = {"torch", "scikit-image"}


def check(look: Look) -> Iterator[str | Finding]:
    """Import every package of requirements.txt."""
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    names = [name for name, _ in requirements(text) if not (look.quick and name in _HEAVY)]
    good = 0
    for name in names:
        yield name
        try:
            importlib.import_module(MODULES.get(name, name.replace("-", "_")))
        except Exception as error:  # noqa: BLE001 - whatever a broken package raises is the finding
            text = f"{name} cannot be imported: {type(error).__name__}: {error}"
            yield found("package-broken", text, python=look.python, package=name)
        else:
            good += 1
    left = " (torch and scikit-image left out by --quick)" if look.quick else ""
    yield nice(f"{good} of {len(names)} packages can be imported{left}")
