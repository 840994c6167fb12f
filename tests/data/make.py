"""Makes the stored numbers of this folder again.

    python -m tests.data.make [NAME ...]

Run it only when the goldens of the published models are reproduced (their tests say so), since the
numbers come from this project's own code: from then on they show that nothing has moved.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.data import musetalk, wav2lip

FOLDER = Path(__file__).resolve().parent
MAKERS: dict[str, Callable[[], dict[str, NDArray[Any]]]] = {
    "musetalk_faces": musetalk.faces,
    "musetalk_unet": musetalk.unet_pass,
    "musetalk_vae": musetalk.vae_pass,
    "musetalk_whisper": musetalk.speech_pass,
    "wav2lip_boxes": wav2lip.boxes,
    "wav2lip_generator": wav2lip.generator,
    "wav2lip_mel": wav2lip.mel,
}


def main() -> int:
    """Make the files named on the command line, or all."""
    for name in sys.argv[1:] or sorted(MAKERS):
        path = FOLDER / f"{name}.npz"
        np.savez_compressed(path, allow_pickle=False, **MAKERS[name]())
        sys.stdout.write(f"{path.name}: {path.stat().st_size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
