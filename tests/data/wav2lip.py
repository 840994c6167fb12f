"""Inputs and outputs of Wav2Lip's parts, as this project computes them."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from face_detect_utils.boxes import smooth_boxes
from models.audio.mel import COLUMNS, HOP, Mel
from models.lipsync.base import Box
from models.lipsync.hourglass import Hourglass, inventory
from models.lipsync.wav2lip import face, masked
from tests.data.weights import noise, seeded

SEED = 7
SAMPLES = 9_700
RATES = {"25": 25.0, "29.97": 29.97}


def gain(key: str) -> float:
    """What keeps signals alive and pictures grey: a stride of two up uses a quarter of the taps."""
    if key == "output_block.1.weight":
        return 0.35
    ups = key.startswith("face_decoder_blocks") and key.endswith(".0.conv_block.0.weight")
    return 2.0 if ups else 1.0


def state(seed: int = SEED) -> dict[str, torch.Tensor]:
    """Stand-in weights of the generator under their published names."""
    made = seeded(inventory(), seed, gain)
    return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in made.items()}


def picture(key: str, height: int, width: int) -> NDArray[np.uint8]:
    """A smooth picture [height, width, 3]."""
    coarse = np.clip(127 + 70 * noise(key, (9, 9, 3), SEED), 0, 255).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


def mel() -> dict[str, NDArray[Any]]:
    """Noise that swells and fades; all its columns; where chunks begin."""
    swell = 0.12 * (1 + np.sin(np.arange(SAMPLES) / 900)).astype(np.float32)
    waveform = np.clip(swell * noise("wav2lip waveform", (SAMPLES,), SEED), -1, 1)
    model, columns = Mel(SAMPLES), 1 + SAMPLES // HOP
    padded, edge_s = np.pad(waveform, 16_000), -1.0
    firsts = np.arange(columns - COLUMNS + 1, dtype=np.float64) * (HOP / 16_000)
    chunks = model.features(padded, edge_s, firsts)
    whole = np.concatenate([chunks[:-1, :, 0].T, chunks[-1]], axis=1)
    starts = {
        f"starts_{rate}": model.starts(np.arange(16, dtype=np.float64) / fps)
        for rate, fps in RATES.items()
    }
    return {"waveform": waveform, "mel": whole, **starts}


def generator() -> dict[str, NDArray[Any]]:
    """One item through the network as published."""
    network = Hourglass()
    network.load_state_dict(state())
    network.eval()
    sound = np.clip(2 * noise("wav2lip mel", (1, 1, 80, 16), SEED), -4, 4)
    faces = picture("wav2lip face", 96, 96)[None]
    with torch.inference_mode():
        made = network(torch.from_numpy(sound), masked(torch.from_numpy(faces)))
    return {"mel": sound, "faces": faces, "output": made.numpy()}


def boxes() -> dict[str, NDArray[Any]]:
    """A walk of rectangles, smoothed; a crop and the network's input of it."""
    steps = np.rint(3 * noise("wav2lip walk", (12, 4), SEED)).astype(np.int64)
    track = np.array([40, 30, 160, 170]) + np.cumsum(steps, axis=0)
    crop = picture("wav2lip crop", 120, 100)
    shown = face(crop, Box(0, 0, 100, 120))
    smoothed = {f"smoothed_{n}": smooth_boxes(track[:n]) for n in (1, 2, 3, 4, 5, 6, 12)}
    return {
        "track": track,
        **smoothed,
        "crop": crop,
        "input": masked(torch.from_numpy(shown[None])).numpy(),
    }
