"""How well the lips of the made videos follow real speech: two persons, five sounds, over HTTP.

    python -m benchmarks.follow [--keep DIR]

Drives each person with each sound and lets the independent yardstick beside the clips judge:
correlation of the lip opening with the true speaker's, and the best lag. Prints a table, then one
line of JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np

from benchmarks import client
from scripts.demo import RunningServer, fetch, running_server

SHARED = Path(__file__).resolve().parents[2] / "shared"
PERSONS = ("person_a", "person_b")
KEPT_ASIDE = ("sbwe5n", "swiz3n")  # nobody tuned anything on these two


def dub(server: RunningServer, video: Path, audio: Path, output: Path) -> Path:
    """One job from post to file."""
    job_id = client.post(server.base, video, audio).job["id"]
    (job,) = client.wait(server.base, [job_id], timeout_s=300)
    if job["status"] != "completed":
        raise RuntimeError(f"{video.name} with {audio.name}: {job}")
    fetch(server.base, job_id, output)
    return output


def yardstick() -> ModuleType:
    """The module that reads lips, beside the clips.

    Raises:
        FileNotFoundError: it is not there.
    """
    spec = importlib.util.spec_from_file_location("yardstick", SHARED / "measure" / "lips.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"no yardstick in {SHARED / 'measure'}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def judge(output: Path, truth: Path) -> dict[str, float]:
    """What the yardstick says."""
    ran = subprocess.run(
        [sys.executable, str(SHARED / "measure" / "lips.py"), "follow", str(output), str(truth)],
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, float] = json.loads(ran.stdout.splitlines()[-1])
    return result


def summary(rows: dict[tuple[str, str], dict[str, float]]) -> dict[str, float]:
    """Means over all rows and over both groups of speakers."""

    def mean(field: str, chosen: list[dict[str, float]]) -> float:
        return round(float(np.mean([abs(row[field]) for row in chosen])), 3)

    aside = [row for (_, sound), row in rows.items() if sound in KEPT_ASIDE]
    tuned = [row for (_, sound), row in rows.items() if sound not in KEPT_ASIDE]
    everything = list(rows.values())
    return {
        "mean_correlation": round(float(np.mean([row["correlation"] for row in everything])), 3),
        "mean_correlation_tuned": round(float(np.mean([row["correlation"] for row in tuned])), 3),
        "mean_correlation_aside": round(float(np.mean([row["correlation"] for row in aside])), 3),
        "mean_best_correlation": mean("best_correlation", everything),
        "mean_abs_lag_ms": mean("best_lag_ms", everything),
    }


def main() -> int:
    """Make the ten videos, judge them, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, help="folder for the made videos")
    args = parser.parse_args()
    sounds = sorted((SHARED / "clips" / "spoken").glob("*.mpg"))
    rows: dict[tuple[str, str], dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name, running_server(Path(name)) as server:
        folder = args.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for person in PERSONS:
            for sound in sounds:
                video = SHARED / "clips" / f"{person}.mp4"
                output = dub(server, video, sound, folder / f"{person}-{sound.stem}.mp4")
                rows[person, sound.stem] = judge(output, sound)
                row = rows[person, sound.stem]
                print(
                    f"{person} {sound.stem:<8} r {row['correlation']:6.3f}   "
                    f"best {row['best_correlation']:6.3f} at {row['best_lag_ms']:5.0f} ms"
                )
    print(json.dumps({"benchmark": "follow", **summary(rows)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
