"""Files of PyTorch weights into named tensors, and these into a network; code in a file never runs.

What it is not: the search for files, or any network. GPT-2's formats are in models/text/containers.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

_WRAPPERS = ("state_dict", "model_state_dict")


class WeightsError(ValueError):
    """A file of weights cannot be used; one line that names the file and what is wrong."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The named tensors of a .safetensors file or of what torch.save wrote, bare or under
    "state_dict". They are mapped from the file where its format allows it, so that only what is
    used takes memory.

    Raises:
        WeightsError: it is missing, damaged, holds code, or something else than named tensors.
    """
    whole = open_weights(path)
    for wrapper in _WRAPPERS:
        if isinstance(whole, dict) and isinstance(whole.get(wrapper), dict):
            whole = whole[wrapper]
    if not isinstance(whole, dict) or not whole:
        raise WeightsError(f"{path} cannot be used: it holds no named tensors")
    wrong = [key for key, value in whole.items() if not isinstance(value, Tensor)]
    if wrong:
        raise WeightsError(f"{path} cannot be used: {wrong[0]!r} in it is not a tensor")
    return {str(key): value for key, value in whole.items()}


def open_weights(path: Path) -> Any:
    """What a file holds, if it is tensors in plain lists and mappings.

    Raises:
        WeightsError: it is missing, damaged or holds code.
    """
    if not path.is_file():
        raise WeightsError(f"{path.name} is missing in {path.parent}")
    try:
        return load_file(path) if path.suffix == ".safetensors" else _unpickled(path)
    except pickle.UnpicklingError as error:
        raise WeightsError(f"{path} cannot be used: {_reason(str(error))}") from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise WeightsError(f"{path} is damaged or cut off ({line[:120]})") from error


def fill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    where: str,
    like: Tensor,
    layout: torch.memory_format = torch.channels_last,
) -> None:
    """Put tensors into a module that was made on the "meta" device, one at a time.

    Each becomes a copy in the type and on the device of `like`; four-dimensional ones lie as
    `layout` says. Weights of 1x1 convolutions fit linear layers. Tensors that the module has no
    name for are left out, so that the caller decides what may remain.

    Raises:
        WeightsError: a tensor is missing or has another shape; `where` names the file.
    """
    for name, slot in list(module.named_parameters()):
        try:
            found = state[name]
        except KeyError as error:
            raise WeightsError(f"{where} cannot be used: it has no tensor {error}") from None
        if _bare(found.shape) != _bare(slot.shape):
            raise WeightsError(
                f"{where} cannot be used: {name!r} has the shape {list(found.shape)}, must be"
                f" {list(slot.shape)}"
            )
        owner, _, leaf = name.rpartition(".")
        made = torch.empty(slot.shape, dtype=like.dtype, device=like.device)
        if made.dim() == 4:
            made = made.contiguous(memory_format=layout)
        made.copy_(found.reshape(slot.shape))
        setattr(module.get_submodule(owner), leaf, nn.Parameter(made, requires_grad=False))
    module.eval()


def _bare(shape: torch.Size) -> tuple[int, ...]:
    """A shape without the two sides of a 1x1 convolution."""
    sizes = tuple(shape)
    return sizes[:2] if len(sizes) == 4 and sizes[2:] == (1, 1) else sizes


def _unpickled(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))


def _reason(message: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:class|global) ([\w.]+)", message)
    if found is None:
        return "it is damaged, cut off or no file of PyTorch"
    name = (found.group(1) or found.group(2)).rstrip(".")
    return f"it holds code ({name}), which is not run"
