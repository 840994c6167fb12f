"""The sizes of MuseTalk's networks: as published by default, small ones for tests.

What it is not: the networks (unet.py, vae.py).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UNetShape:
    """A conditional UNet in the layout of Stable Diffusion 1.x.

    `channels`: of each level, finest first; all levels but the deepest attend to the sound.
    `layers`: resnets of a level on the way down (one more on the way up). `sound`: width of the
    sound's rows.
    """

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    layers: int = 2
    heads: int = 8
    groups: int = 32
    sound: int = 384
    inputs: int = 8
    outputs: int = 4


@dataclass(frozen=True)
class VaeShape:
    """The autoencoder of Stable Diffusion; `channels` of each level, finest first."""

    channels: tuple[int, ...] = (128, 256, 512, 512)
    layers: int = 2
    groups: int = 32
    latents: int = 4
