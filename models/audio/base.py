"""The contract of a speech model: samples in, one feature per video frame out.

What it is not: decoding of files. Stateless by design, so that a job resumes at any segment with
equal numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16000


class SpeechModel(ABC):
    """Turns 16 kHz mono speech into one feature per video frame.

    `before_s` and `after_s` say how much sound around a frame the feature depends on. `level_db`:
    to which level (loudness.py) the caller brings the whole recording first; None for as it is.
    """

    name: str
    before_s: float
    after_s: float
    level_db: float | None = None

    def for_length(self, samples: int) -> SpeechModel:
        """This model for a recording of so many samples: for models whose numbers near the end
        depend on where it is. The default looks at sound alone.
        """
        return self

    @abstractmethod
    def features(
        self, samples: NDArray[np.float32], start_s: float, times_s: NDArray[np.float64]
    ) -> NDArray[np.float32]:
        """Features [T, ...] at each of `times_s` (seconds in the recording, rising, shape [T]).

        `samples` is float32 at 16 kHz, in -1..1 before any gain, whose first sample lies at
        `start_s`. It must reach from `times_s[0] - before_s` to `times_s[-1] + after_s`; the caller
        pads with zeros at both ends of the recording.
        """
