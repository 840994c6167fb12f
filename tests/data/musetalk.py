"""Inputs and outputs of MuseTalk's parts at a small width, as this project computes them."""

from __future__ import annotations

import functools
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.audio import whisper
from models.audio.whisper import EncoderShape, WhisperAudio
from models.lipsync.muse import blend, unet, vae
from models.lipsync.muse.blend import BlendRule
from models.lipsync.muse.box import BoxRule, Edges, landmark_box
from models.lipsync.muse.chain import SCALE, Published, pictures, prepared
from models.lipsync.muse.shape import UNetShape, VaeShape
from models.lipsync.muse.unet import Folded, UNet, positions
from models.lipsync.muse.vae import Vae
from models.weights import fill
from tests.data.weights import noise, seeded

SEED = 11
UNET = UNetShape(channels=(8, 8, 16, 16), layers=1, heads=2, groups=4, sound=16)
VAE = VaeShape(channels=(4, 4, 8, 8), layers=1, groups=2)
WHISPER = EncoderShape(width=16, heads=2, layers=4)

State = dict[str, torch.Tensor]


def _state(inventory: dict[str, tuple[int, ...]]) -> State:
    made = seeded(inventory, SEED)
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in made.items()}


@functools.cache
def unet_state() -> State:
    """Stand-in weights of a small UNet under the published names."""
    return _state(unet.inventory(UNET))


@functools.cache
def vae_state() -> State:
    """Stand-in weights of a small autoencoder under the published names."""
    return _state(vae.inventory(VAE))


@functools.cache
def whisper_state() -> State:
    """Stand-in weights of a small encoder under the published names."""
    return _state(whisper.inventory(WHISPER))


def published() -> Published:
    """Both small networks of the lips."""
    return Published(unet_state(), vae_state(), unet_shape=UNET, vae_shape=VAE)


def speech_model() -> WhisperAudio:
    """The small speech model."""
    return whisper.make(whisper_state(), "stand-in weights", WHISPER)


def network() -> UNet:
    """The small UNet, loaded."""
    with torch.device("meta"):
        made = UNet(UNET)
    fill(made, Folded(unet_state()), "stand-in weights", torch.zeros(()))
    return made


def autoencoder() -> Vae:
    """The small autoencoder, loaded, as the CPU has it."""
    with torch.device("meta"):
        made = Vae(VAE)
    fill(made, vae_state(), "stand-in weights", torch.zeros(()), torch.contiguous_format)
    return made


def picture(key: str, height: int, width: int) -> NDArray[np.uint8]:
    """A smooth picture [height, width, 3]."""
    coarse = np.clip(127 + 70 * noise(key, (9, 9, 3), SEED), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def unet_pass() -> dict[str, NDArray[Any]]:
    """One pass, positions added."""
    latents = noise("musetalk latents", (1, 8, 32, 32), SEED)
    sound = noise("musetalk sound", (1, 50, UNET.sound), SEED)
    with torch.inference_mode():
        heard = torch.from_numpy(sound) + positions(50, UNET.sound)
        made = network()(torch.from_numpy(latents), heard)
    return {"output": made.numpy()}


def vae_pass() -> dict[str, NDArray[Any]]:
    """A face encoded twice, its latents decoded."""
    face = picture("musetalk face", 256, 256)
    with torch.inference_mode():
        model = autoencoder()
        mean, spread = model.encode(prepared(torch.from_numpy(face[None])))
        decoded = model.decode(mean[1:])
        made = pictures(decoded)[0]
    return {
        "mean": SCALE * mean.numpy(),
        "spread": spread.numpy()[:, :, ::4, ::4],
        "decoded": decoded.numpy()[:, :, ::4, ::4],
        "picture": cv2.resize(made.numpy(), (64, 64), interpolation=cv2.INTER_NEAREST),
    }


def speech_pass() -> dict[str, NDArray[Any]]:
    """Two seconds of noise that swells: its mel, and the features of some frames."""
    swell = 0.12 * (1 + np.sin(np.arange(32_000) / 900)).astype(np.float32)
    waveform = np.clip(swell * noise("musetalk waveform", (32_000,), SEED), -1, 1)
    piece = np.zeros(whisper.PIECE_SAMPLES, np.float32)
    piece[:32_000] = waveform
    mel = whisper.log_mel(torch.from_numpy(piece)).numpy()
    times = np.array([0.0, 0.04, 1.0, 1.92])
    window = np.pad(piece, 31 * 16_000)
    features = speech_model().for_length(32_000).features(window, -31.0, times)
    return {"mel": mel[:, :210:7], "times": times, "features": features}


def landmarks(key: str, width_px: float = 90.0) -> NDArray[np.float32]:
    """A plausible face of 68 points: a jaw, brows, a nose, eyes and a mouth, a little shaken."""
    angles = np.linspace(np.pi, 0, 17)
    jaw = np.stack([np.cos(angles), 1.15 * np.sin(angles)], 1)
    brows = np.stack([np.linspace(-0.8, 0.8, 10), np.full(10, -0.55)], 1)
    bridge = np.stack([np.zeros(4), np.linspace(-0.35, 0.2, 4)], 1)
    wings = np.stack([np.linspace(-0.22, 0.22, 5), np.full(5, 0.3)], 1)
    eyes = np.stack([np.linspace(-0.6, 0.6, 12), np.full(12, -0.3)], 1)
    round_ = np.linspace(0, 2 * np.pi, 20, endpoint=False)
    mouth = np.stack([-0.4 * np.cos(round_), 0.65 + 0.12 * np.sin(round_)], 1)
    points = np.concatenate([jaw, brows, bridge, wings, eyes, mouth]) * width_px / 2
    return (points + 150 + 1.5 * noise(key, (68, 2), SEED)).astype(np.float32)


def faces() -> dict[str, NDArray[Any]]:
    """Rectangles by each rule, a map's regions, and masks with either feather."""
    marks = np.stack([landmarks(f"musetalk marks {i}", 60 + 20 * i) for i in range(4)])
    rules = {"v1": BoxRule(), "v1_shift": BoxRule(-7), "v15": BoxRule(chin_px=10)}
    given = Edges(100, 90, 200, 220)
    boxes = {
        f"boxes_{name}": np.array([landmark_box(each, given, rule, 300).numbers for each in marks])
        for name, rule in rules.items()
    }
    box = landmark_box(marks[1], given, rules["v15"], 300)
    masks = {}
    for name, rule in (("jaw", BlendRule()), ("raw", BlendRule(jaw=False, blur=0.1))):
        masks[f"mask_{name}"] = blend.own_mask(box, marks[1], rule)
        masks[f"plain_{name}"] = blend.own_mask(box, None, rule)
    return {"marks": marks, **boxes, **masks}
