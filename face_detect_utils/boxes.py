"""The way in which Wav2Lip's reference steadies face boxes over time.

What it is not: a filter of its own making: the rule, its ends and its cutting of integers are those
of the published inference script, so that crops agree with what its checkpoints are used to.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

WINDOW = 5

Number = TypeVar("Number", np.int32, np.int64, np.float32, np.float64)


def smooth_boxes(boxes: NDArray[Number], window: int = WINDOW) -> NDArray[Number]:
    """Boxes [N, 4] of one track, each the mean of itself and the `window - 1` that follow. Integer
    boxes stay integers, cut towards zero; others are not rounded.

    Where fewer follow, the mean is that of the track's last `window` boxes, of which the earlier
    ones are smoothed already. A track shorter than the window keeps the reference's oddity: its
    slice starts at N - window, which counts from the end where it is negative.

    Raises:
        ValueError: the boxes are not [N, 4], or the window is not positive.
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or window < 1:
        raise ValueError(
            f"boxes of shape {boxes.shape} and a window of {window}: [N, 4] and at least 1 are"
            " needed"
        )
    smooth = boxes.copy()
    count = len(smooth)
    for index in range(count):
        rows = smooth[min(index, count - window) : index + window]
        smooth[index] = rows.mean(axis=0, dtype=np.float64)
    return smooth
