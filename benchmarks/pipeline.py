"""The pipeline against the ffmpeg program: how much longer than a plain re-encode does a dub take?

    python -m benchmarks.pipeline [--video V] [--audio A] [--rounds 3] [--threads 0]

Both turns decode the same video, encode H.264 by libx264 with the same preset, crf and threads and
the sound as AAC, and write an MP4. They alternate, so that other load on the machine hits both; the
medians are compared.

Counted for the dub: everything from opening the inputs to the checked MP4 under its name (hashing,
decoding the sound, learning the face, tracking, the speech network, rendering, blending, encoding,
segments with fsync, joining), with the real models; once with an empty cache, and once more with
what the first time has learned of the video. Not counted: starting Python and loading the models,
which a server does once per worker. Counted for ffmpeg: the whole command.

Wall time is what counts; CPU time (of all threads) stands beside it, since it hardly depends on
what else the machine does. Prints a table and, last, one line of JSON. What it is not: a measure of
how good the lips are.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
CLIP = ROOT.parent / "shared" / "clips" / "person_b.mp4"
PRESET, CRF = "veryfast", 20


def main() -> int:
    """Run the rounds and print."""
    args = _arguments()
    if args.child:
        return _child(args)
    if not args.video.is_file() or not args.audio.is_file():
        print(f"skipped: {args.video} or {args.audio} is not there; give --video and --audio")
        return 0
    theirs, ours = [], []
    for number in range(args.rounds):
        theirs.append(_ffmpeg(args))
        ours.append(_dub(args))
        print(
            f"round {number + 1}: ffmpeg {theirs[-1]['wall_s']:.2f} s, "
            f"dub {ours[-1]['wall_s']:.2f} s, known {ours[-1]['known']['wall_s']:.2f} s"
        )
    _report(theirs, ours)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--video", type=Path, default=CLIP)
    parser.add_argument("--audio", type=Path, default=None, help="default: the video's own sound")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="encoder threads; 0 = automatic")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.audio = args.audio or args.video
    return args


def _ffmpeg(args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a plain re-encode; as long as the recording, like the dub."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["ffmpeg", "-v", "error", "-nostdin", "-i", str(args.video)]
        command += ["-i", str(args.audio), "-map", "0:v:0", "-map", "1:a:0", "-shortest"]
        command += ["-c:v", "libx264", "-preset", PRESET, "-crf", str(CRF)]
        command += ["-threads", str(args.threads), "-c:a", "aac", f"{folder}/out.mp4"]
        began, before = time.perf_counter(), _cpu_s(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True)
        wall_s = time.perf_counter() - began
    return {"wall_s": wall_s, "cpu_s": _cpu_s(resource.RUSAGE_CHILDREN) - before}


def _cpu_s(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def _dub(args: argparse.Namespace) -> dict[str, Any]:
    """What a fresh process measured of one dub."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--child", folder, "--threads", str(args.threads)]
        command += ["--video", str(args.video), "--audio", str(args.audio)]
        path = os.pathsep.join([str(ROOT), *sys.path])
        made = subprocess.run(
            ["env", f"PYTHONPATH={path}", *command], check=True, capture_output=True, text=True
        )
    found: dict[str, Any] = json.loads(made.stdout.strip().splitlines()[-1])
    return found


def _child(args: argparse.Namespace) -> int:
    from face_detect_utils.haar import load as load_faces
    from models.audio.viseme import load as load_speech
    from models.lane import Lane, Priority
    from models.lipsync.base import LipItem, LipPatch
    from models.lipsync.viseme import load as load_lips
    from trans_dh_service.pipeline import dub
    from trans_dh_service.task import DubTools, Encoding

    class Engine:
        name, priority, max_batch = "lips", Priority.BATCH, 16

        def run(self, items: Sequence[LipItem]) -> list[LipPatch]:
            return lips.render(items)

    weights = ROOT / "weights"
    lips, speech = load_lips("cpu", weights), load_speech("cpu", weights)
    lane = Lane([Engine()])
    lane.start()
    encoding = Encoding(PRESET, CRF, args.threads)
    tools = DubTools(
        load_faces("cpu", weights),
        speech,
        lips,
        lambda item: lane.submit("lips", item),
        args.child / "cache",
        encoding=encoding,
    )
    unknown, known = (_timed(dub, _task(args, name), tools) for name in ("unknown", "known"))
    lane.stop()
    print(json.dumps({**unknown, "known": known}))
    return 0


def _task(args: argparse.Namespace, name: str) -> Any:
    from trans_dh_service.task import DubTask

    return DubTask(args.video, args.audio, args.child / name, args.child / f"{name}.mp4")


def _timed(dub: Callable[..., Any], task: Any, tools: Any) -> dict[str, Any]:
    from benchmarks.quiet import Quiet

    began, before = time.perf_counter(), _cpu_s(resource.RUSAGE_SELF)
    result = dub(task, tools, Quiet())
    return {
        "wall_s": time.perf_counter() - began,
        "cpu_s": _cpu_s(resource.RUSAGE_SELF) - before,
        "stage_s": result.stage_s,
        "frames": result.frames,
    }


def _report(theirs: list[dict[str, float]], ours: list[dict[str, Any]]) -> None:
    kinds = {"ffmpeg": theirs, "dub": ours, "dub, known": [run["known"] for run in ours]}
    wall = {kind: _middle(runs, "wall_s") for kind, runs in kinds.items()}
    cpu = {kind: _middle(runs, "cpu_s") for kind, runs in kinds.items()}
    middle = min(ours, key=lambda run: abs(run["wall_s"] - wall["dub"]))
    print(f"\n{'part':<16}{'busy s':>8}{'of the wall':>13}   (stages overlap)")
    for part, spent in sorted(middle["stage_s"].items(), key=lambda item: -item[1]):
        print(f"{part:<16}{spent:>8.2f}{spent / middle['wall_s']:>12.0%}")
    print(
        f"\n{'':<16}{'wall s':>8}{'cpu s':>8}{'wall x':>8}{'cpu x':>8}   target: wall at most 1.5"
    )
    for kind in kinds:
        ratios = f"{wall[kind] / wall['ffmpeg']:>8.2f}{cpu[kind] / cpu['ffmpeg']:>8.2f}"
        print(f"{kind:<16}{wall[kind]:>8.2f}{cpu[kind]:>8.2f}{ratios}")
    summary = {
        "benchmark": "pipeline",
        "dub_s": round(wall["dub"], 3),
        "known_s": round(wall["dub, known"], 3),
        "ffmpeg_s": round(wall["ffmpeg"], 3),
        "ratio": round(wall["dub"] / wall["ffmpeg"], 3),
        "ratio_known": round(wall["dub, known"] / wall["ffmpeg"], 3),
        "cpu_ratio": round(cpu["dub"] / cpu["ffmpeg"], 3),
        "frames": middle["frames"],
        "stage_s": {part: round(spent, 3) for part, spent in middle["stage_s"].items()},
        "rounds": len(ours),
        "cores": os.cpu_count(),
    }
    print(json.dumps(summary))


def _middle(runs: Sequence[dict[str, Any]], field: str) -> float:
    return float(statistics.median(run[field] for run in runs))


if __name__ == "__main__":
    sys.exit(main())
