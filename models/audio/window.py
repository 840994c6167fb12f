"""The checks that speech models share: is a window of sound usable, does it reach far enough?

What it is not: a model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.audio.base import SAMPLE_RATE_HZ, SpeechModel

# How much missing sound at a window's end is taken for rounding and filled with zeros.
SLACK_S = 0.002


def check(
    model: SpeechModel,
    samples: NDArray[np.float32],
    start_s: float,
    times_s: NDArray[np.float64],
) -> None:
    """See `SpeechModel.features` for the arguments.

    Raises:
        ValueError: a wrong shape or type, values that are not finite, times that fall, or samples
            that do not reach as far as `model` needs.
    """
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise ValueError(
            f"samples are {samples.dtype} {list(samples.shape)}; float32 [N] is needed"
        )
    if not np.isfinite(samples).all():
        raise ValueError("samples hold NaN or infinity; finite values are needed")
    if times_s.ndim != 1 or not np.isfinite(times_s).all() or (np.diff(times_s) < 0).any():
        raise ValueError("times_s must be a rising row of finite seconds")
    if not len(times_s):
        return
    end_s = start_s + len(samples) / SAMPLE_RATE_HZ
    need_from, need_to = times_s[0] - model.before_s, times_s[-1] + model.after_s
    if start_s > need_from + SLACK_S or end_s < need_to - SLACK_S:
        raise ValueError(
            f"samples reach from {start_s:.3f} s to {end_s:.3f} s; these times need "
            f"{need_from:.3f} s to {need_to:.3f} s (pad the recording's ends with zeros)"
        )
