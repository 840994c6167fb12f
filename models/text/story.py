"""The story model that ships: where it lies and how the registry loads it.

What it is not: a format of its own (checkpoints.py reads it like any Hugging Face directory) or
its training (scripts/train_story.py).
"""

from __future__ import annotations

from pathlib import Path

from models.text.base import Precision, TextModel
from models.text.checkpoints import load_checkpoint

NAME = "story"
FOLDER = Path(__file__).resolve().parent.parent / "assets" / "story"
SLOTS = 8


def load(device: str, weights_dir: Path) -> TextModel:
    """The embedded model in float32, with room for SLOTS texts at once."""
    return load_checkpoint(FOLDER, SLOTS, Precision.FP32, device, name=NAME)
