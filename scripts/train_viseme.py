"""Train the speech model that ships, models/assets/viseme_audio.onnx, from synthetic speech.

    python scripts/train_viseme.py [--minutes 110] [--epochs 20] [--nets 3] [--seed 7]
                                   [--out FILE] [--judge CLIPS SERIES]

What it is: speech by espeak-ng, flite and Festival with known sound times → mouth targets → a
few small networks → ONNX, then its scores. What it is not: needed to run the server. It takes
some twenty minutes on one core and needs requirements-dev.txt and the Debian packages
libespeak-ng1, flite, festival and its voices (viseme_training/festival.py).

`--judge` also compares the opening with real lips: CLIPS is a folder of videos, SERIES one of
.npz files (see viseme_training/judge.py). With `--epochs 0` it judges the file that is there.
The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from models.audio.viseme import WEIGHTS, VisemeAudio  # noqa: E402 - needs the path above
from runtime.sessions import open_session  # noqa: E402
from scripts.viseme_training import corpus, export, judge, net  # noqa: E402

HELD_BACK_MINUTES = 4.0
HELD_BACK_SEED = 1000
MIX = corpus.USUAL


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=110, help="sound to train on")
    parser.add_argument("--epochs", type=int, default=20, help="0: do not train, only judge")
    parser.add_argument("--nets", type=int, default=3, help="networks whose mean is the model")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--judge", type=Path, nargs=2, metavar=("CLIPS", "SERIES"))
    return parser.parse_args()


def train(args: argparse.Namespace) -> dict[str, float]:
    """Make the sound, fit, write the file; scores on speech that was not trained on."""
    begun = time.monotonic()
    said = corpus.speeches(args.seed, args.minutes, MIX)
    print(f"{len(said)} utterances in {time.monotonic() - begun:.0f} s")
    nets = []
    for seed in range(args.seed, args.seed + args.nets):
        scenes = list(corpus.scenes(seed, args.minutes, said))
        print(f"network {seed}: {len(scenes)} scenes, {time.monotonic() - begun:.0f} s")
        nets.append(net.train(scenes, net.Fit(epochs=args.epochs, seed=seed), print))
    fitted = net.Choir(nets).eval()
    export.save(fitted, args.out)
    print(f"{args.out.name}: {args.out.stat().st_size} bytes, {time.monotonic() - begun:.0f} s")
    said = corpus.speeches(HELD_BACK_SEED, HELD_BACK_MINUTES, MIX)
    held_back = list(corpus.scenes(HELD_BACK_SEED, HELD_BACK_MINUTES, said))
    return net.scores(fitted, held_back)


def judged(weights: Path, clips: Path, series: Path) -> dict[str, float]:
    """Print a table of the clips; returns the mean correlation and lag, and the yardstick's."""
    model = VisemeAudio(open_session(weights, "cpu", threads=1))
    rows = []
    print("clip            correlation   best  lag ms  energy")
    for path in sorted(series.glob("*.npz")):
        clip = next(clips.glob(f"{path.stem}.*"))
        row = judge.follow(model, clip, path)
        rows.append(row)
        print(
            f"{row.clip:15s} {row.correlation:11.3f} {row.best:6.3f} {row.lag_ms:7.0f} "
            f"{row.energy:7.3f}"
        )
    count = len(rows)
    return {
        "real_correlation": sum(r.correlation for r in rows) / count,
        "real_lag_ms": sum(abs(r.lag_ms) for r in rows) / count,
        "energy_correlation": sum(r.energy for r in rows) / count,
    }


def main() -> int:
    """Train, judge, print."""
    args = arguments()
    torch.set_num_threads(1)
    scores = train(args) if args.epochs else {}
    if args.judge:
        scores |= judged(args.out, *args.judge)
    print(json.dumps({name: round(value, 4) for name, value in scores.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
