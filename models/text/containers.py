"""The file formats of GPT-2 checkpoints, all opened without running code from them.

nanoGPT's ckpt.pt, build-nanogpt's model_*.pt (and its fork's larger ones), Hugging Face's folders.
What it is not: the network (network.py), or the choice of a tokenizer (tokenizer.py).
"""

from __future__ import annotations

import importlib
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from models.text.base import Gelu, GptConfig, TextError

_SUPPORTED = "nanoGPT, build-nanogpt and Hugging Face GPT-2 checkpoints can be loaded"
_HF_FILES = ("model.safetensors", "pytorch_model.bin")
_HF_GELUS = {"gelu_new": Gelu.TANH, "gelu_pytorch_tanh": Gelu.TANH, "gelu": Gelu.ERF}
_BUFFERS = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)$")
# The order of torch.compile's, DistributedDataParallel's and GPT-2's own prefixes varies.
_PREFIXES = re.compile(r"^(?:_orig_mod\.|module\.|transformer\.)+")
_CONV1D = ("c_attn.weight", "c_proj.weight", "c_fc.weight")


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a file holds: tensors under bare names (h.0...), linear weights as [out, in].

    `folders`: where its tokenizer may be. `about`: format, and what training noted.
    """

    config: GptConfig
    state: dict[str, Tensor]
    folders: tuple[Path, ...]
    about: dict[str, Any] = field(default_factory=dict)


class _Shape:
    """Stands in for the GPTConfig of a training script: a bag of attributes."""


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file or folder.

    Raises:
        TextError: it is missing, damaged, holds code, or is of another architecture.
    """
    if not path.exists():
        raise TextError(f"there is no checkpoint {path}")
    try:
        if path.is_dir():
            return _read_folder(path)
        if path.name in _HF_FILES or path.suffix == ".safetensors":
            return _read_hugging_face(path)
        return _read_pt(path)
    except TextError as error:
        raise TextError(f"checkpoint {path} cannot be used: {error}") from error


def _read_folder(folder: Path) -> Checkpoint:
    for name in _HF_FILES:
        if (folder / name).is_file():
            return _read_hugging_face(folder / name)
    found = sorted(folder.glob("*.pt"))
    if not found:
        raise TextError(f"there is no {', '.join(_HF_FILES)} or *.pt in the folder")
    if len(found) > 1:
        raise TextError(f"there are {len(found)} *.pt in the folder; name one of them")
    return _read_pt(found[0])


# PyTorch's files


def _read_pt(file: Path) -> Checkpoint:
    whole = open_pickle(file)
    if not isinstance(whole, dict):
        raise TextError(f"it holds a {type(whole).__name__}, not a checkpoint; {_SUPPORTED}")
    if any(str(key).endswith("attn.c_q.weight") for key in whole):
        raise TextError(
            "it is a nanochat checkpoint, another architecture (rotary positions, RMSNorm, squared "
            f"ReLU); {_SUPPORTED}"
        )
    if not isinstance(whole.get("model"), dict):
        raise TextError(f'it has no "model" with tensors; {_SUPPORTED}')
    state = bare(whole["model"])
    # Both have a "config"; nanoGPT's is a dict of training settings.
    if "model_args" in whole:
        config = _config(whole["model_args"], Gelu.ERF, state)
        kind, notes = "nanoGPT", ("iter_num", "best_val_loss")
    elif isinstance(whole.get("config"), _Shape):
        config = _config(vars(whole["config"]), Gelu.TANH, state)
        kind, notes = "build-nanogpt", ("step", "val_loss")
    else:
        raise TextError(f'it has neither "model_args" nor a GPTConfig in "config"; {_SUPPORTED}')
    about = {"format": kind, **{note: _number(whole.get(note)) for note in notes if note in whole}}
    return Checkpoint(config, state, _places(file, whole.get("config")), about)


def open_pickle(file: Path) -> Any:
    """What torch.save wrote, tensors mapped from the file; only known, harmless types.

    Raises:
        TextError: it is damaged, or holds anything else.
    """
    whole = zipfile.is_zipfile(file)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_harmless()):
            warnings.simplefilter("ignore")  # NumPy and PyTorch about old files
            return torch.load(file, map_location="cpu", weights_only=True, mmap=whole)
    except pickle.UnpicklingError as error:
        raise TextError(_unpickling(str(error))) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        line = str(error).strip().splitlines() or [type(error).__name__]
        raise TextError(f"the file is damaged or cut off ({line[0][:120]})") from error


def _unpickling(message: str) -> str:
    found = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:class|global) ([\w.]+)", message)
    if found is None:
        return "the file is damaged, cut off or no checkpoint of PyTorch"
    name = found.group(1) or found.group(2)
    return f"it holds code ({name.rstrip('.')}), which is not run"


def _harmless() -> list[Any]:
    """Names that checkpoints hold beside tensors: GPTConfig as a bag, NumPy's random state."""
    # The names moved in NumPy 2; files have either.
    multiarray = importlib.import_module("numpy._core.multiarray")
    shapes = [
        (_Shape, f"{module}.GPTConfig")
        for module in ("__main__", "model.train_gpt2", "train_gpt2", "model")
    ]
    arrays = [
        (getattr(multiarray, name), f"{package}.multiarray.{name}")
        for package in ("numpy.core", "numpy._core")
        for name in ("_reconstruct", "scalar")
    ]
    kinds = [type(np.dtype(code)) for code in ("u4", "u8", "i4", "i8", "f4", "f8")]
    return [*shapes, *arrays, (np.ndarray, "numpy.ndarray"), (np.dtype, "numpy.dtype"), *kinds]


def _config(numbers: Any, gelu: Gelu, state: Mapping[str, Tensor]) -> GptConfig:
    if not isinstance(numbers, dict):
        raise TextError(f"its configuration is a {type(numbers).__name__}")
    try:
        return GptConfig(
            **{
                name: numbers[name]
                for name in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
            },
            bias="ln_f.bias" in state,
            gelu=gelu,
        )
    except KeyError as error:
        raise TextError(f"its configuration lacks {error}") from error


def _number(value: Any) -> float | int | None:
    """What training noted, as a plain number."""
    if isinstance(value, Tensor | np.generic):
        value = value.item()
    return value if isinstance(value, int | float) else None


def _places(file: Path, settings: Any) -> tuple[Path, ...]:
    """Beside the checkpoint; then nanoGPT's data/<dataset> beside its folder."""
    folder = file.absolute().parent
    name = settings.get("dataset") if isinstance(settings, dict) else None
    if isinstance(name, str) and re.fullmatch(r"\w[\w.-]*", name):
        return folder, folder.parent / "data" / name
    return (folder,)


# Hugging Face's folders


def _read_hugging_face(file: Path) -> Checkpoint:
    settings = _settings(file.parent / "config.json")
    config = _hf_config(settings)
    if file.suffix == ".safetensors":
        try:
            raw = load_file(file)
        except (SafetensorError, OSError) as error:
            raise TextError(f"{file.name} is damaged or cut off ({error})") from error
    else:
        raw = open_pickle(file)
    state = {
        key: tensor.t() if key.endswith(_CONV1D) and tensor.ndim == 2 else tensor
        for key, tensor in bare(raw).items()
    }
    return Checkpoint(config, state, (file.absolute().parent,), {"format": "Hugging Face GPT-2"})


def _settings(file: Path) -> dict[str, Any]:
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TextError(f"its config.json cannot be read ({error})") from error
    if not isinstance(settings, dict):
        raise TextError("its config.json is not an object")
    return settings


def _hf_config(settings: Mapping[str, Any]) -> GptConfig:
    kind = settings.get("model_type", "gpt2")
    if kind != "gpt2":
        raise TextError(f"its architecture is {kind!r}, not 'gpt2'; {_SUPPORTED}")
    gelu = _HF_GELUS.get(settings.get("activation_function", "gelu_new"))
    if gelu is None:
        allowed = ", ".join(_HF_GELUS)
        raise TextError(
            f"activation_function is {settings['activation_function']!r}; it can be {allowed}"
        )
    if settings.get("scale_attn_by_inverse_layer_idx"):
        raise TextError("scale_attn_by_inverse_layer_idx is not supported")
    if settings.get("layer_norm_epsilon", 1e-5) != 1e-5:
        raise TextError(f"layer_norm_epsilon is {settings['layer_norm_epsilon']}; it must be 1e-05")
    names = {"block_size": "n_positions", "n_layer": "n_layer", "n_head": "n_head"}
    names |= {"n_embd": "n_embd", "vocab_size": "vocab_size"}
    lacking = [name for name in names.values() if name not in settings]
    if lacking:
        raise TextError(f"its config.json lacks {lacking[0]!r}")
    return GptConfig(**{ours: settings[theirs] for ours, theirs in names.items()}, gelu=gelu)


def bare(state: Any) -> dict[str, Tensor]:
    """Tensors under their names without prefixes; stored causal masks are left out.

    Raises:
        TextError: something else than named tensors.
    """
    tensors: dict[str, Tensor] = {}
    if not isinstance(state, dict):
        raise TextError(f"a {type(state).__name__} stands where named tensors should")
    for key, tensor in state.items():
        if not isinstance(key, str) or not isinstance(tensor, Tensor):
            raise TextError(f"{key!r} is not a named tensor")
        name = _PREFIXES.sub("", key)
        if not (_BUFFERS.match(name) and (tensor.ndim == 4 or name.endswith("masked_bias"))):
            tensors[name] = tensor
    return tensors
