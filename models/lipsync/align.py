"""Lays a learned picture of a face over the same face in another frame, finely.

What it is not: a face tracker. The pose of the tracker is right within a few per cent of the face's
width; here an affine motion relative to it is fitted on the cheeks, the nose and the part under it,
which do not speak. Method: inverse compositional Gauss-Newton (Baker and Matthews, "Lucas-Kanade 20
years on", IJCV 2004) with Tukey weights and a prior that holds the motion near the pose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.lipsync.base import Image, Pose
from models.lipsync.plane import Matrix, as_floats, grid, sampled, to_picture

Floats = NDArray[np.floating[Any]]

SIZE_PX = 64
"""Pixels per face width: fine enough for a tenth of a pixel of a 640 px face, and quick."""
WIDTH, HEIGHT = 68, 60
LEFT, TOP = -34 / SIZE_PX, -34 / SIZE_PX
STEPS = 6
NORM_SIGMA_PX = 5.0
PRIOR = np.array([0.06, 0.04, 2.5, 0.04, 0.06, 2.5])
"""Standard deviations of the motion's entries (scale, shear, shift in grid pixels per row)."""
NOISE = 0.45
"""Standard deviation of the normalised pictures' difference; neighbouring pixels are not
independent, so it is larger than what is seen per pixel."""
SLANT_SHARE = 0.5
TUKEY = 1.6
GRID = grid(LEFT, TOP, 1 / SIZE_PX)


@dataclass(frozen=True, eq=False)
class Template:
    """What of the learned picture is compared: colours [HEIGHT, WIDTH, 3] on the grid, their
    normalised grey, the derivatives [n, 6] at the n pixels that count, their weight.
    """

    colours: Floats
    grey: Floats
    slopes: Floats
    weight: Floats
    where: NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Fit:
    """Where the learned plane lies: `matrix` takes its (u, v, 1) to the crop's pixels. `colours` is
    the crop on the learned grid; `residual` the mean difference of the normalised pictures.
    """

    matrix: Matrix
    colours: Floats
    residual: float


def still() -> Floats:
    """How much each pixel of the grid counts, [HEIGHT, WIDTH], 1 for ordinary skin: nothing at the
    mouth, the chin and outside the face, little at the eyes, which blink; most just above the
    mouth, because it is there that an error shows, as a second lip.
    """
    u, v = coordinates()
    face = np.clip(1.6 - 4.0 * np.abs(u), 0, 1) * np.clip((v + 0.5) * 20, 0, 1)
    mouth = 1 - np.exp(-(np.maximum(np.abs(u) - 0.14, 0) ** 2) / 0.006) * _ramp(v, -0.1, -0.035)
    chin = 1 - _ramp(v, 0.06, 0.14)
    eyes = 1 - 0.75 * (1 - _ramp(v, -0.36, -0.28))
    above = 1 + 2 * np.exp(-(((v + 0.12) / 0.07) ** 2) - (u / 0.2) ** 2)
    return as_floats(face * mouth * chin * eyes * above)


def coordinates() -> tuple[Floats, Floats]:
    """(u, v) of the grid's pixels, each [HEIGHT, WIDTH]."""
    x, y = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    return (
        (LEFT + x / SIZE_PX).astype(np.float32),
        (TOP + y / SIZE_PX).astype(np.float32),
    )


def mean_colour(colours: Floats, weight: Floats) -> Floats:
    """The weighted mean of colours [HEIGHT, WIDTH, 3] on the grid, [3]."""
    mean: Floats = (colours * weight[..., None]).sum(axis=(0, 1)) / float(weight.sum())
    return mean


def template(crop: Image, pose: Pose) -> Template:
    """Prepare the learned picture [H, W, 3] with the pose in it."""
    colours = sampled(crop, to_picture(pose) @ GRID, WIDTH, HEIGHT)
    grey = _normalised(colours)
    weight = still()
    dx = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8).ravel()
    dy = cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8).ravel()
    where = np.flatnonzero(weight.ravel() > 0.02)
    x, y = _centred(where)
    dx, dy = dx[where], dy[where]
    slopes = np.stack([dx * x, dx * y, dx, dy * x, dy * y, dy], axis=1)
    return Template(
        colours.astype(np.float32),
        grey,
        slopes.astype(np.float32),
        weight.ravel()[where],
        where,
    )


def align(learned: Template, crop: Image, pose: Pose) -> Fit:
    """Fit the learned plane to a crop [H, W, 3] whose rough pose is given."""
    base = to_picture(pose) @ GRID
    colours = sampled(crop, base, WIDTH, HEIGHT)
    grey = _normalised(colours)
    motion = np.eye(3)
    wanted = learned.grey.ravel()[learned.where]
    prior = np.diag(1 / PRIOR**2)
    error = np.zeros_like(wanted)
    for _ in range(STEPS):
        error = _warped(grey, motion).ravel()[learned.where] - wanted
        weight = learned.weight * _tukey(error)
        weighted = learned.slopes * (weight / NOISE**2)[:, None]
        now = (motion - np.eye(3))[:2].ravel()
        left = weighted.T @ learned.slopes + prior
        step = np.linalg.solve(left, weighted.T @ error + prior @ now)
        motion = motion @ np.linalg.inv(np.eye(3) + _square(step))
        if float(np.abs(step[[2, 5]]).max()) < 0.01:
            break
    return Fit(
        base @ _uncentred(_damped(motion)) @ np.linalg.inv(GRID),
        _warped(colours.astype(np.float32), motion),
        float(np.average(np.abs(error), weights=learned.weight)),
    )


def _ramp(value: Floats, low: float, high: float) -> Floats:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return as_floats(t * t * (3 - 2 * t))


def _centred(where: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Pixel coordinates relative to the plane's origin, so that the prior speaks of the mouth."""
    y, x = np.divmod(where, WIDTH)
    return (
        (x + LEFT * SIZE_PX).astype(np.float32),
        (y + TOP * SIZE_PX).astype(np.float32),
    )


def _square(step: Floats) -> Matrix:
    return np.vstack([step.reshape(2, 3), np.zeros(3)])


def _damped(motion: Matrix) -> Matrix:
    """The motion with half its change of size and slant: the nose, which stands out, shows more of
    these than the flat mouth when the head nods. The place of the mouth stays.
    """
    damped = motion.copy()
    damped[:2, :2] = np.eye(2) + SLANT_SHARE * (motion[:2, :2] - np.eye(2))
    return damped


def _uncentred(motion: Matrix) -> Matrix:
    """The motion in the grid's own pixels."""
    shift = np.eye(3)
    shift[:2, 2] = -LEFT * SIZE_PX, -TOP * SIZE_PX
    return shift @ motion @ np.linalg.inv(shift)


def _warped(picture: Floats, motion: Matrix) -> Floats:
    moved = cv2.warpAffine(
        picture,
        _uncentred(motion)[:2],
        (WIDTH, HEIGHT),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return as_floats(moved)


def _normalised(colours: Image) -> Floats:
    """Grey without its local mean and contrast: light and exposure drop out."""
    grey = as_floats(cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY))
    grey = as_floats(cv2.GaussianBlur(grey, (0, 0), 0.8))
    flat = grey - cv2.GaussianBlur(grey, (0, 0), NORM_SIGMA_PX)
    spread = np.sqrt(cv2.GaussianBlur(flat * flat, (0, 0), NORM_SIGMA_PX))
    return as_floats(flat / (spread + 3.0))


def _tukey(error: Floats) -> Floats:
    """Tukey's biweight: 1 for small errors, 0 beyond TUKEY."""
    t = np.clip(np.abs(error) / TUKEY, 0, 1)
    return as_floats((1 - t * t) ** 2)
