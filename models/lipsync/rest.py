"""What is learned of a source video: one picture of the face with its mouth nearly closed, where
its lips are, and the person's teeth.

What it is not: rendering. The mouth of this picture replaces the source's own in every frame, which
is what takes the source's own speech out of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync import align, jaw, teeth
from models.lipsync.base import FaceSample, Image, Pose
from models.lipsync.lips import CLOSED, Lips, arrays_of, find_lips
from models.lipsync.plane import as_floats, as_image, grid, sampled, to_picture

MOST_SAMPLES = 40
COMPARED = 12
FINALISTS = 4
SHUT = 0.62
"""Lips that are as red and even as this all the way across show no teeth."""
CORNER, CORNER_HEIGHT, DARK = (0.72, 1.35), 0.05, 0.6
"""Where an open mouth's corners lie, in halves of its width and face widths up and down, and how
dark they are beside the skin."""
UNSURE, BUSY = 0.1, 8.0
"""Lips less sure than this, as in a picture without colours, tell nothing about their being shut:
then the lack of detail does, with this weight."""


@dataclass(frozen=True, eq=False)
class Rest:
    """The learned picture [H, W, 3] BGR with its pose and lips, and the person's teeth where the
    video shows them; `template`, `light_weight` and `jaw` follow from the rest.
    """

    crop: Image
    pose: Pose
    lips: Lips
    template: align.Template
    light_weight: NDArray[np.float32]
    jaw: jaw.Jaw
    teeth: teeth.Teeth | None = None


def make(crop: Image, pose: Pose, lips: Lips, seen: teeth.Teeth | None = None) -> Rest:
    """A rest from what is stored of it."""
    template, weight = align.template(crop, pose), _light_weight()
    hang = jaw.learn(lips, template.colours, weight)
    return Rest(crop, pose, lips, template, weight, hang, seen)


def learn(samples: Sequence[FaceSample]) -> Rest:
    """Choose the picture: lips nearly closed, sharp, and like the other pictures. A sample's lips
    may have been found before (`studied`).

    Raises:
        ValueError: there is no sample.
    """
    if not samples:
        raise ValueError("no samples of the face: at least one is needed")
    chosen = [samples[i] for i in _spread(len(samples), MOST_SAMPLES)]
    found = [sample.studied or find_lips(sample.crop, sample.pose) for sample in chosen]
    cost = _costs(chosen, found)
    finalists = np.argsort(cost, kind="stable")[:FINALISTS]
    templates = {int(i): align.template(chosen[i].crop, chosen[i].pose) for i in finalists}
    others = [chosen[i] for i in _spread(len(chosen), COMPARED)]
    unlike = {i: _unlike(templates[i], others) for i in templates}
    best = min(templates, key=lambda i: cost[i] + 0.5 * unlike[i])
    face = teeth.Face(templates[best], found[best], _light_weight())
    parted = [one for one, lips in zip(chosen, found, strict=True) if lips.shut < SHUT]
    seen = teeth.find(face, [parted[i] for i in _spread(len(parted), COMPARED)])
    crop = _without_corners(chosen[best].crop, chosen[best].pose, found[best])
    return make(crop, chosen[best].pose, found[best], seen)


def dump(rest: Rest) -> dict[str, NDArray[Any]]:
    """The rest as arrays."""
    return {
        "crop": rest.crop,
        "pose": rest.pose.numbers,
        "lips": arrays_of(rest.lips),
        **teeth.dump(rest.teeth),
    }


def restore(arrays: dict[str, NDArray[Any]]) -> Rest:
    """The inverse of `dump`.

    Raises:
        KeyError: an array is missing.
        TypeError, ValueError: an array has another shape or type than `dump` gives.
    """
    crop = arrays["crop"]
    if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3 or min(crop.shape) < 1:
        raise ValueError(f"learned picture of type {crop.dtype} and shape {crop.shape}")
    pose = Pose.of(arrays["pose"])
    lips = Lips(*(float(v) for v in arrays["lips"]))
    return make(np.ascontiguousarray(crop), pose, lips, teeth.restore(arrays))


def _spread(count: int, most: int) -> list[int]:
    """At most `most` indices spread evenly over `count`."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _costs(samples: Sequence[FaceSample], found: Sequence[Lips]) -> NDArray[np.float64]:
    """How little each sample suits: open lips, lips elsewhere than in the others, blur."""
    numbers = np.array([[lips.gap, lips.y, lips.half, lips.sure, lips.shut] for lips in found])
    usual = np.median(numbers, axis=0)
    sharp, busy = np.array([_detail(sample) for sample in samples]).T
    cost: NDArray[np.float64] = (
        numbers[:, 0] / 0.1
        + (np.abs(numbers[:, 1] - usual[1]) / 0.03) ** 2
        + (np.abs(numbers[:, 2] - usual[2]) / 0.04) ** 2
        + np.maximum(0, 0.4 - numbers[:, 3])
        + 5.0 * (1 - numbers[:, 4])
        + 1.5 * np.maximum(0, 1 - sharp / max(float(np.median(sharp)), 1e-6))
    )
    if usual[3] < UNSURE:
        cost += BUSY * busy / max(float(np.median(busy)), 1e-6)
    return cost


def _detail(sample: FaceSample) -> tuple[float, float]:
    """Mean strength of fine detail around the mouth, at one size for all, and within it, where
    teeth and dark have more of it than lips.
    """
    view = to_picture(sample.pose) @ grid(-0.3, -0.2, 1 / 160)
    grey = cv2.cvtColor(sampled(sample.crop, view, 96, 80), cv2.COLOR_BGR2GRAY)
    detail = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    return float(detail.mean()), float(detail[20:56, 26:70].mean())


def _without_corners(crop: Image, pose: Pose, lips: Lips) -> Image:
    """A copy of the picture; where its lips are open, without the dark in their corners, which
    would stay when the lips are closed: what lies around it is drawn over it (Telea, "An image
    inpainting technique based on the fast marching method", 2004).
    """
    crop = crop.copy()
    if lips.gap < CLOSED:
        return crop
    inverse = np.linalg.inv(to_picture(pose))
    y, x = np.mgrid[: crop.shape[0], : crop.shape[1]]
    u = inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]
    v = inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]
    t = np.abs(u - lips.x) / lips.half
    height = v - (lips.y - lips.lift + lips.gap / 4)
    corner = (t > CORNER[0]) & (t < CORNER[1]) & (np.abs(height) < CORNER_HEIGHT)
    light = cv2.GaussianBlur(crop, (0, 0), max(0.6, pose.size_px / 250)).max(axis=2)
    skin = float(np.median(light[(t > 1.4) & (t < 1.8) & (np.abs(height) < 2 * CORNER_HEIGHT)]))
    dark = (corner & (light < DARK * skin)).astype(np.uint8)
    reach = max(1, round(0.012 * pose.size_px))
    dark = as_image(cv2.dilate(dark, np.ones((2 * reach + 1,) * 2, np.uint8)))
    return as_image(cv2.inpaint(crop, dark, 2.0 * reach, cv2.INPAINT_TELEA))


def _unlike(learned: align.Template, samples: Sequence[FaceSample]) -> float:
    """Mean difference of the other samples after they are laid over this one."""
    return float(np.mean([align.align(learned, s.crop, s.pose).residual for s in samples]))


def _light_weight() -> NDArray[np.float32]:
    """Where the light is compared, on the grid of align.py: skin around the mouth that is not
    painted over.
    """
    u, v = align.coordinates()
    near = np.exp(-((v / 0.25) ** 4)) * np.exp(-((u / 0.36) ** 8))
    lips = np.exp(-(((v - 0.02) / 0.1) ** 4)) * np.exp(-((u / 0.2) ** 4))
    return as_floats(np.minimum(align.still(), 1) * near * (1 - lips))
