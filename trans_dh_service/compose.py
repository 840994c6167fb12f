"""Cut the face's rectangle out of a frame, and blend a patch back in, in the frame's own YUV.

What it is not: the maker of patches (models/lipsync). Only the rectangle is converted; every sample
whose weight is 0 keeps its bits.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from models.lipsync.base import Box, LipPatch
from trans_dh_service.picture import Plane, planes_of

Matrix = NDArray[np.float64]

# Kr and Kb: ITU-R BT.709-6 item 3.2, BT.601-7 (2.5.1), BT.2020-2 table 4, SMPTE 240M.
_WEIGHTS = {
    int(Colorspace.ITU709): (0.2126, 0.0722),
    int(Colorspace.SMPTE240M): (0.212, 0.087),
    9: (0.2627, 0.0593),
    10: (0.2627, 0.0593),
}
_BT601 = (0.299, 0.114)
_BT709 = (0.2126, 0.0722)
_UNSPECIFIED = 2
_HD_ROWS = 720
"""Untagged pictures of so many rows or more are taken for BT.709, as players do."""


@dataclass(frozen=True, eq=False)
class Colours:
    """Affine maps [3, 4] between Y, U, V and B, G, R, all 0..255."""

    to_bgr: Matrix
    to_yuv: Matrix


@dataclass(frozen=True, eq=False)
class Crop:
    """A BGR picture [h, w, 3] whose top left pixel is `x`, `y` of the frame (maybe outside)."""

    image: NDArray[np.uint8]
    x: int
    y: int


def colours_for(colorspace: int, color_range: int, rows: int) -> Colours:
    """The maps for a frame's colour tags; `rows` decides where there is no tag."""
    default = _BT709 if colorspace == _UNSPECIFIED and rows >= _HD_ROWS else _BT601
    red, blue = _WEIGHTS.get(colorspace, default)
    green = 1 - red - blue
    full = color_range == int(ColorRange.JPEG)
    luma, chroma, black = (1.0, 1.0, 0.0) if full else (219 / 255, 224 / 255, 16.0)
    to_yuv = np.array(
        [
            [luma * blue, luma * green, luma * red, black],
            chroma / (2 - 2 * blue) * np.array([1 - blue, -green, -red, 0]),
            chroma / (2 - 2 * red) * np.array([-blue, -green, 1 - red, 0]),
        ]
    )
    to_yuv[1:, 3] = 128
    inverse = np.linalg.inv(to_yuv[:, :3])
    to_bgr = np.hstack([inverse, -inverse @ to_yuv[:, 3:]])
    return Colours(to_bgr, to_yuv)


def cut(frame: av.VideoFrame, box: Box, colours: Colours) -> Crop | None:
    """The box as BGR, grown to even edges; what lies outside the frame repeats its border. None
    where the box misses the frame.
    """
    left, top = box.x & ~1, box.y & ~1
    right, bottom = (box.x + box.width + 1) & ~1, (box.y + box.height + 1) & ~1
    inner_left, inner_top = max(0, left), max(0, top)
    inner_right, inner_bottom = min(frame.width, right), min(frame.height, bottom)
    if inner_left >= inner_right or inner_top >= inner_bottom:
        return None
    image = _bgr(frame, (inner_left, inner_top, inner_right, inner_bottom), colours)
    beyond = (inner_top - top, bottom - inner_bottom, inner_left - left, right - inner_right)
    if any(beyond):
        image = np.asarray(cv2.copyMakeBorder(image, *beyond, cv2.BORDER_REPLICATE), np.uint8)
    return Crop(image, left, top)


def placed(crop: Crop, patch: LipPatch) -> LipPatch:
    """The patch with its place in the frame in place of that in the crop."""
    return replace(patch, x=patch.x + crop.x, y=patch.y + crop.y)


def mixed(one: LipPatch, other: LipPatch, share: float) -> LipPatch:
    """One patch that paints `share` (0..1) of the other and the rest of the one; both in the frame.

    Painted one after the other, they would let the frame's own mouth shine through.
    """
    left, top = min(one.x, other.x), min(one.y, other.y)
    right = max(patch.x + patch.weight.shape[1] for patch in (one, other))
    bottom = max(patch.y + patch.weight.shape[0] for patch in (one, other))
    weight = np.zeros((bottom - top, right - left), np.float32)
    colour = np.zeros((*weight.shape, 3), np.float32)
    for patch, part in ((one, 1 - share), (other, share)):
        rows, columns = patch.weight.shape
        at = np.s_[patch.y - top : patch.y - top + rows, patch.x - left : patch.x - left + columns]
        mine = patch.weight * np.float32(part)
        weight[at] += mine
        colour[at] += patch.image * mine[..., None]
    colour /= np.maximum(weight, np.float32(1e-6))[..., None]
    return LipPatch(np.rint(colour).astype(np.uint8), weight, left, top)


def paste(frame: av.VideoFrame, patch: LipPatch, gain: float, colours: Colours) -> None:
    """Blend a patch, placed in the frame, into it: new = old + weight * gain * (patch - old), in
    each plane.

    A chroma sample takes the least weight of its four pixels, so that no pixel of weight 0 is
    touched through it.
    """
    left, top = patch.x, patch.y
    height, width = patch.weight.shape
    right, bottom = min(left + width, frame.width), min(top + height, frame.height)
    skip_x, skip_y = max(0, -left), max(0, -top)
    left, top = max(0, left), max(0, top)
    if left >= right or top >= bottom:
        return
    part = np.s_[skip_y : skip_y + bottom - top, skip_x : skip_x + right - left]
    edges = (top & 1, bottom & 1, left & 1, right & 1)
    image = cv2.copyMakeBorder(patch.image[part], *edges, cv2.BORDER_REPLICATE)
    weight = cv2.copyMakeBorder(patch.weight[part], *edges, cv2.BORDER_CONSTANT, value=0)
    _blend_in(frame, (left & ~1, top & ~1), image, weight * np.float32(gain), colours)


def _blend_in(
    frame: av.VideoFrame,
    at: tuple[int, int],
    image: cv2.typing.MatLike,
    weight: NDArray[np.float32],
    colours: Colours,
) -> None:
    """Blend an even-sized picture at an even place."""
    frame.make_writable()
    x, y = at
    height, width = weight.shape
    luma, *chromas = planes_of(frame)
    new = cv2.split(cv2.transform(image, colours.to_yuv))
    _mix(luma[y : y + height, x : x + width], new[0], weight)
    half = np.minimum(
        np.minimum(weight[::2, ::2], weight[::2, 1::2]),
        np.minimum(weight[1::2, ::2], weight[1::2, 1::2]),
    )
    x, y, height, width = x // 2, y // 2, height // 2, width // 2
    for plane, fine in zip(chromas, new[1:], strict=True):
        coarse = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
        _mix(plane[y : y + height, x : x + width], coarse, half)


def _mix(plane: Plane, new: cv2.typing.MatLike, weight: NDArray[np.float32]) -> None:
    mixed = new.astype(np.float32)
    mixed -= plane
    mixed *= weight
    mixed += plane
    np.rint(mixed, out=mixed)
    np.copyto(plane, mixed, casting="unsafe")


def _bgr(
    frame: av.VideoFrame, edges: tuple[int, int, int, int], colours: Colours
) -> NDArray[np.uint8]:
    """An even rectangle (left, top, right, bottom) inside the frame as BGR."""
    left, top, right, bottom = edges
    y, u, v = planes_of(frame)
    half = np.s_[top // 2 : bottom // 2, left // 2 : right // 2]
    size = (right - left, bottom - top)
    wide = [cv2.resize(plane[half], size, interpolation=cv2.INTER_LINEAR) for plane in (u, v)]
    yuv = cv2.merge((y[top:bottom, left:right], wide[0], wide[1]))
    return np.asarray(cv2.transform(yuv, colours.to_bgr), np.uint8)
