"""Where a user's files for detection lie: WEIGHTS_DIR, its folder `face`, then `resources/` here.

What it is not: loading. It imports nothing heavy, so that any process may ask whether a file is
there.
"""

from __future__ import annotations

from pathlib import Path

RESOURCES = Path(__file__).resolve().parent / "resources"
YUNET = ("face_detection_yunet_202[3-9]*.onnx", "face_detection_yunet_*.onnx", "yunet*.onnx")
"""The versions before 2023 have other outputs; they are taken last, so that the error names one."""
SCRFD = ("scrfd_*kps*.onnx", "scrfd_*.onnx", "scrfd*.onnx")
"""Files with points first."""
LANDMARKS = ("facemesh*.onnx", "*landmark*68*.onnx", "*468*.onnx")


def find(patterns: tuple[str, ...], weights_dir: Path) -> Path | None:
    """The first file that fits the first pattern that any fits; None where there is none. Within a
    pattern WEIGHTS_DIR goes before `resources/`, then names in order.
    """
    for pattern in patterns:
        for folder in (weights_dir, weights_dir / "face", RESOURCES):
            fitting = sorted(path for path in folder.glob(pattern) if path.is_file())
            if fitting:
                return fitting[0]
    return None


def need(what: str, patterns: tuple[str, ...], weights_dir: Path) -> Path:
    """The file that `find` finds.

    Raises:
        FileNotFoundError: there is none; the message names the folders and the patterns.
    """
    path = find(patterns, weights_dir)
    if path is None:
        raise FileNotFoundError(
            f"no file of {what} ({' or '.join(patterns)}) in {weights_dir}, in its folder face/ or"
            f" in {RESOURCES.parent.name}/{RESOURCES.name}: put one there, or fetch it with"
            " scripts/download_models.py"
        )
    return path
