"""The shipped speech model follows the lips of real people whom it never heard."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from benchmarks import follow
from models.audio import viseme
from scripts.viseme_training import judge

SHARED = Path(__file__).resolve().parents[2].parent / "shared"
SPOKEN = SHARED / "clips" / "spoken"
YARDSTICK = SHARED / "measure" / "lips.py"

# The two clips that played no part in setting up the training (docs/models/viseme-audio.md).
KEPT_ASIDE = ("sbwe5n.mpg", "swiz3n.mpg")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SPOKEN.is_dir() and YARDSTICK.is_file()),
        reason=f"no clips at {SPOKEN} or no yardstick at {YARDSTICK}",
    ),
]


@pytest.fixture(scope="module")
def yardstick() -> ModuleType:
    return follow.yardstick()


def test_the_opening_follows_the_true_lips_better_than_loudness_does(
    yardstick: ModuleType, tmp_path: Path
) -> None:
    model = viseme.load("cpu", Path("weights"))
    rows = []
    for clip in (SPOKEN / name for name in KEPT_ASIDE):
        truth, rate = yardstick.openings(str(clip))
        np.savez(tmp_path / f"{clip.stem}.npz", s=truth, r=rate)
        rows.append(judge.follow(model, clip, tmp_path / f"{clip.stem}.npz"))
    mean = float(np.mean([row.correlation for row in rows]))
    assert mean >= 0.55
    assert mean > float(np.mean([row.energy for row in rows])) + 0.05
    assert float(np.mean([abs(row.lag_ms) for row in rows])) <= 40
