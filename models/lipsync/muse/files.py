"""Where MuseTalk's published files lie under the folder of weights.

What it is not: their contents (weights.py), or their download (scripts/download_models.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from models.lipsync.muse.chain import Published
from models.weights import read_weights

V1 = ("musetalk/pytorch_model.bin", "musetalk/unet.pth", "musetalk/model.safetensors")
V15 = ("musetalkV15/unet.pth", "musetalkV15/pytorch_model.bin", "musetalkV15/model.safetensors")
VAE = tuple(
    f"{folder}/diffusion_pytorch_model.{ending}"
    for folder in ("sd-vae", "sd-vae-ft-mse")
    for ending in ("bin", "safetensors")
)


def published(weights_dir: Path, unet_names: Sequence[str]) -> Published:
    """The tensors of one version and of the autoencoder, mapped from their files.

    Raises:
        WeightsError: a file is missing or cannot be used; the line names it.
    """
    unet, vae = _first(weights_dir, unet_names), _first(weights_dir, VAE)
    return Published(read_weights(unet), read_weights(vae), str(unet), str(vae))


def _first(folder: Path, names: Sequence[str]) -> Path:
    """The first that is there, or else the usual one."""
    paths = [folder / name for name in names]
    return next((path for path in paths if path.is_file()), paths[0])
