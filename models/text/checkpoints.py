"""A checkpoint's path in, a model ready to run out.

What it is not: the formats (containers.py) or the network (network.py).
"""

from __future__ import annotations

from pathlib import Path

from models.text.base import Precision, TextError, TextModel
from models.text.containers import read_checkpoint
from models.text.network import make_network, shapes
from models.text.tokenizer import find_tokenizer

# File names that say nothing about the model: the folder's name is taken.
_NAMELESS = {"ckpt", "model", "pytorch_model", "weights"}


def load_checkpoint(
    path: Path,
    slots: int,
    precision: Precision,
    device: str = "cpu",
    tokenizer_path: Path | None = None,
    name: str | None = None,
) -> TextModel:
    """Load a model.

    Args:
        path: a nanoGPT or build-nanogpt file, or a Hugging Face folder (or its file of weights).
        slots: streams that can run at once; rows of the cache.
        precision: how weights are kept and multiplied.
        device: "cpu" or a CUDA device of PyTorch.
        tokenizer_path: its tokenizer's file or folder; None looks beside the checkpoint.
        name: its public name; None takes the file's or the folder's.

    Raises:
        TextError: one line that says what is wrong with it.
    """
    checkpoint = read_checkpoint(path)
    try:
        tokenizer = find_tokenizer(checkpoint.folders, tokenizer_path)
        network = make_network(
            checkpoint.config, checkpoint.state, slots, precision, device, tokenizer.size
        )
    except TextError as error:
        raise TextError(f"checkpoint {path} cannot be used: {error}") from error
    about = {
        **checkpoint.about,
        "parameters": sum(_size(shape) for shape in shapes(checkpoint.config).values()),
        "block_size": checkpoint.config.block_size,
        "precision": precision.value,
    }
    return TextModel(name or name_of(path), network, tokenizer, path.stat().st_mtime, about)


def name_of(path: Path) -> str:
    """The public name of a checkpoint that was given none."""
    path = path.absolute()
    if path.is_dir():
        return path.name
    return path.parent.name if path.stem in _NAMELESS else path.stem


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
