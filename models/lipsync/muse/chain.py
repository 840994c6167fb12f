"""MuseTalk's networks on one device: faces to latents, latents and sound to speaking faces.

What it is not: files (files.py), or what is around a face (blend.py). The precision is the lowest
that keeps the picture (docs/decisions/0077): it is tried at load, against float32.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.lipsync import gate
from models.lipsync.base import Image
from models.lipsync.buckets import Buckets
from models.lipsync.muse.shape import UNetShape, VaeShape
from models.lipsync.muse.unet import Folded, UNet, positions
from models.lipsync.muse.vae import Vae, renamed
from models.weights import fill

_log = structlog.get_logger("models.lipsync.muse")

FACE_PX = 256
LATENT_PX = 32
SOUND_ROWS = 50
SCALE = 0.18215
"""Latents are kept times this (Stable Diffusion's scaling factor)."""
SIZES = (8, 16, 32)
"""Rows per call of the speaking networks on CUDA; on the CPU every number runs as it is."""
ENCODED_AT_ONCE = {"cuda": 8, "cpu": 1}
"""Faces per call of the encoder; on the CPU more are no faster, and one is the same each time."""
_SEED = 2026


@dataclass(frozen=True, eq=False)
class Published:
    """The published tensors and where they come from."""

    unet: Mapping[str, Tensor]
    vae: Mapping[str, Tensor]
    unet_file: str = "unet"
    vae_file: str = "vae"
    unet_shape: UNetShape = UNetShape()
    vae_shape: VaeShape = VaeShape()


@dataclass(frozen=True)
class Precision:
    """What the UNet and the autoencoder calculate in."""

    unet: torch.dtype = torch.float32
    vae: torch.dtype = torch.float32


class Chain:
    """The networks, loaded. One thread at a time."""

    def __init__(self, published: Published, device: str, precision: Precision) -> None:
        self.device, self.precision = device, precision
        like = torch.zeros((), dtype=precision.vae, device=device)
        with torch.device("meta"):
            self._unet = UNet(published.unet_shape)
            self._vae = Vae(published.vae_shape)
        fill(self._unet, Folded(published.unet), published.unet_file, like.to(precision.unet))
        fill(self._vae, renamed(published.vae), published.vae_file, like)
        self.fingerprint = _fingerprint(self._vae)
        if device == "cpu" and precision.vae == torch.float32:
            # The CPU's channels_last GroupNorm takes one pass in float32, which costs even areas
            # (the masked half) three digits: 9e-4 instead of 5e-7 (docs/decisions/0077).
            for part in (self._vae.encoder, self._vae.quant_conv):
                _contiguous(part)
        self.sound_width = published.unet_shape.sound
        self._places = positions(SOUND_ROWS, self.sound_width).to(device)
        self._decode: Callable[[Tensor], Tensor] = self._vae.decode
        # Not the plain method: a cycle would keep the networks until the next collection.
        self._recorded: Buckets | None = None

    def encode(self, faces: Sequence[Image]) -> NDArray[np.float16]:
        """Latents [B, 8, 32, 32] of faces [256, 256, 3] BGR: with the mouth hidden, then whole.

        The distribution's middle is taken, where MuseTalk draws from it: the same each time.
        """
        most = ENCODED_AT_ONCE[self.device]
        parts = [self._encoded(faces[at : at + most]) for at in range(0, len(faces), most)]
        return np.concatenate(parts)

    def speak(self, latents: NDArray[np.float16], sound: NDArray[np.float32]) -> Tensor:
        """Faces [B, 256, 256, 3] BGR uint8 of latents [B, 8, 32, 32] and sound [B, 50, 384].

        On CUDA this returns before the device is done; reading the tensor waits for it.
        """
        given = torch.from_numpy(np.ascontiguousarray(latents)).to(self.device, self.precision.unet)
        heard = torch.from_numpy(np.ascontiguousarray(sound)).to(self.device)
        with torch.inference_mode():
            run = self._spoken if self._recorded is None else self._recorded
            return run(given, heard)

    def compile(self) -> None:
        """Compile the decoder (three quarters of the work) and record every batch size. What the
        compiler cannot do runs as it is, and a line in the log says so.
        """
        self._decode = Fallback(torch.compile(self._vae.decode, dynamic=False), self._vae.decode)
        self.record()

    def record(self) -> None:
        """Record every batch size as a CUDA graph."""
        latents = torch.zeros((1, 8, LATENT_PX, LATENT_PX), dtype=self.precision.unet)
        sound = torch.zeros((1, SOUND_ROWS, self.sound_width))
        recorded = Buckets(self._spoken, SIZES, self.device, (latents, sound))
        recorded.warm()
        self._recorded = recorded

    def _encoded(self, faces: Sequence[Image]) -> NDArray[np.float16]:
        with torch.inference_mode():
            whole = torch.from_numpy(np.stack(faces)).to(self.device)
            mean, _ = self._vae.encode(prepared(whole).to(self.precision.vae))
            masked, reference = (SCALE * mean.float()).chunk(2)
            made: NDArray[np.float16] = torch.cat((masked, reference), 1).half().cpu().numpy()
        return made

    def _spoken(self, latents: Tensor, sound: Tensor) -> Tensor:
        spoken = self._unet(latents, (sound + self._places).to(self.precision.unet))
        return pictures(self._decode((spoken / SCALE).to(self.precision.vae)))


class Fallback:
    """A compiled function, or the plain one for good once the compiler has failed."""

    def __init__(self, fast: Callable[[Tensor], Tensor], plain: Callable[[Tensor], Tensor]) -> None:
        self._fast: Callable[[Tensor], Tensor] | None = fast
        self._plain = plain

    def __call__(self, x: Tensor) -> Tensor:
        """The result."""
        if self._fast is not None:
            try:
                return self._fast(x)
            except torch.OutOfMemoryError:
                raise  # the lane halves the batch
            except Exception as error:  # noqa: BLE001 - a compiler fails in any way it likes
                _log.warning("decoder not compiled, runs as it is", error=str(error)[:200])
                self._fast = None
        return self._plain(x)


def prepared(faces: Tensor) -> Tensor:
    """[2B, 3, 256, 256] in -1..1 of faces [B, 256, 256, 3] BGR uint8: first all with the lower half
    hidden (-1), then all whole. RGB.
    """
    whole = faces.flip(-1).permute(0, 3, 1, 2).float() / 255
    masked = whole.clone()
    masked[:, :, FACE_PX // 2 :] = 0
    return ((torch.cat((masked, whole)) - 0.5) / 0.5).contiguous()


def pictures(decoded: Tensor) -> Tensor:
    """[B, 256, 256, 3] BGR uint8 of what the decoder gives: RGB, about -1..1."""
    levels = (decoded.float() / 2 + 0.5).clamp(0, 1) * 255
    return levels.round().to(torch.uint8).flip(1).permute(0, 2, 3, 1).contiguous()


def open_chain(
    published: Published, device: str, choices: Sequence[Precision] | None = None
) -> Chain:
    """The networks in the first of `choices` (default: `precisions`) whose pictures agree with
    float32's by at least gate.LEAST_PSNR_DB; float32 where none does.

    One copy of the networks is in memory at a time.

    Raises:
        WeightsError: the tensors do not fit.
    """
    wanted = precisions(device) if choices is None else choices
    chain = Chain(published, device, Precision())
    if not wanted:
        return _ready(chain)
    truth = _sample(chain)
    for precision in wanted:
        del chain
        chain = Chain(published, device, precision)
        found_db = gate.psnr_db(_sample(chain), truth, 255.0)
        _log.info(
            "precision tried",
            unet=str(precision.unet),
            vae=str(precision.vae),
            psnr_db=round(found_db, 1),
        )
        if found_db >= gate.LEAST_PSNR_DB:  # never true of NaN
            return _ready(chain)
    del chain
    return _ready(Chain(published, device, Precision()))


def precisions(device: str) -> list[Precision]:
    """What to try on a device, the fastest first: both networks reduced, then the autoencoder
    alone, which is three quarters of the work.
    """
    fast = gate.fast(device)
    return [Precision(each, each) for each in fast] + [Precision(vae=each) for each in fast]


def _ready(chain: Chain) -> Chain:
    if chain.device == "cuda":
        chain.compile()
    return chain


def _sample(chain: Chain) -> Tensor:
    """What a chain makes of a fixed picture and noise for sound: encoded, spoken, decoded."""
    rng = np.random.default_rng(_SEED)
    coarse = torch.from_numpy(rng.uniform(0, 255, (1, 3, 12, 12)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (FACE_PX, FACE_PX), mode="bicubic")
    face = smooth[0].permute(1, 2, 0).clamp(0, 255).byte().numpy()
    sound = rng.standard_normal((1, SOUND_ROWS, chain.sound_width)).astype(np.float32)
    return chain.speak(chain.encode([face]), sound).cpu()


def _fingerprint(encoder: Vae) -> str:
    """Names the encoder by some of its numbers: latents of another one must not be used."""
    total = 0
    for layer in (encoder.encoder.conv_in, encoder.encoder.conv_out, encoder.quant_conv):
        total = zlib.crc32(layer.weight.float().cpu().contiguous().numpy().tobytes(), total)
    return f"{total:08x}"


def _contiguous(part: torch.nn.Module) -> None:
    for parameter in part.parameters():
        parameter.data = parameter.data.contiguous()
