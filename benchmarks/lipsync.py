"""A lip-sync backend in the real pipeline: frames per second end to end, by stage, and two jobs at
once; for Wav2Lip also its network against the published one.

    python -m benchmarks.lipsync [--model wav2lip] [--weights DIR] [--rounds 3]
    python -m benchmarks.lipsync --memory [--model M] [--long 600]

The clip is the first 4 s of person_b at 480 px (short side), made by ffmpeg. Counted per dub:
everything from opening the files to the checked MP4, with an empty cache; loading the models is
not. Each round makes two dubs one after the other, then two at once, so that other load on the
machine hits both. The generator's share is the time in which the lane's thread rendered, of the
wall time of a dub alone. Without published weights the networks have stand-in numbers, which cost
the same (MuseTalk's are narrow then and say nothing of its speed).

For scale, on two cores (../shared facts): Wav2Lip's reference makes 9.0 frames/s end to end with
the face's box given, its network alone 19 cold and 28 warm at batch 16.

Prints tables and, last, one line of JSON. What it is not: a measure of how good lips are.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.dubbing import ENGINE, MODELS, Cast, Stagehand, cast, clip, one_dub
from benchmarks.memory import peak_mib
from models.lane import BatchReport
from models.lipsync import gate, wav2lip
from models.lipsync.base import LipItem
from models.lipsync.buckets import Network
from models.lipsync.hourglass import Hourglass
from trans_dh_service.task import DubResult

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
CLIP = SHARED / "clips" / "person_b.mp4"
SECONDS = 4.0
SHORT_S = 10.0
BATCH = 16


def main() -> int:
    """Measure and print."""
    args = _arguments()
    if not args.video.is_file():
        print(f"skipped: {args.video} is not there; give --video")
        return 0
    if args.threads:
        torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.child:
            found = _memory_child(args, folder)
        elif args.memory:
            found = _memory(args)
        else:
            found = _speed(args, folder)
    print(json.dumps({"benchmark": "lipsync", "model": args.model, **found}))
    return 0


def _arguments() -> argparse.Namespace:
    shared = SHARED / "weights"
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--model", choices=MODELS, default="wav2lip")
    parser.add_argument("--video", type=Path, default=CLIP)
    parser.add_argument(
        "--weights", type=Path, default=shared if shared.is_dir() else ROOT / "weights"
    )
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--height", type=int, default=480, help="pixels of the short side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="of torch; 0 = as many as cores")
    parser.add_argument("--memory", action="store_true", help="peak memory of 10 s and of --long")
    parser.add_argument("--long", type=float, default=600.0)
    parser.add_argument("--child", type=float, default=0.0, help=argparse.SUPPRESS)
    return parser.parse_args()


def _speed(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    video = clip(args.video, folder / "clip.mp4", args.seconds, args.height)
    began = time.perf_counter()
    models = cast(args.model, args.weights, folder)
    print(f"{args.model}: {models.note}; loaded in {time.perf_counter() - began:.1f} s")
    hand = Stagehand(models.lipsync)
    one_dub(models, hand, video, folder / "first")  # settles the libraries; not counted
    rounds = [_round(models, hand, video, folder / str(number)) for number in range(args.rounds)]
    found = _report(rounds)
    if isinstance(models.lipsync, wav2lip.Wav2Lip):
        files = args.weights, folder
        name = f"{args.model.replace('-', '_')}.pth"
        path = next(place / name for place in files if (place / name).is_file())
        found |= _network(models.lipsync, path, hand.items)
    hand.lane.stop()
    return {**found, "note": models.note, "cores": os.cpu_count()}


def _round(models: Cast, hand: Stagehand, video: Path, folder: Path) -> dict[str, Any]:
    """Two dubs after each other, then two at once."""
    alone: list[tuple[DubResult, float]] = []
    marks_s = [time.process_time()]
    for number in (1, 2):
        before = hand.lane.stats()[ENGINE].busy_s
        result = one_dub(models, hand, video, folder / f"alone{number}")
        alone.append((result, hand.lane.stats()[ENGINE].busy_s - before))
    seen = len(hand.reports)
    marks_s.append(time.process_time())
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(one_dub, models, hand, video, folder / f"both{n}") for n in (1, 2)]
        both = [job.result() for job in jobs]
    wall_s = time.perf_counter() - began
    marks_s.append(time.process_time())
    single_s = sum(result.wall_s for result, _ in alone)
    cpu_s = np.diff(marks_s)
    print(
        f"two dubs: {single_s:.2f} s one after the other ({cpu_s[0]:.2f} s of CPU), "
        f"{wall_s:.2f} s at once ({cpu_s[1]:.2f} s)",
        flush=True,
    )
    return {
        "alone": alone,
        "ratio": single_s / wall_s,
        "both_fps": sum(result.frames for result in both) / wall_s,
        "batches": hand.reports[seen:],
    }


def _report(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    runs: list[tuple[DubResult, float]] = [run for each in rounds for run in each["alone"]]
    result, busy_s = sorted(runs, key=lambda run: run[0].wall_s)[len(runs) // 2]
    stages = {**result.stage_s, "generator (lane)": busy_s}
    print(f"\n{'stage':<20}{'busy s':>8}{'of wall':>9}{'frames/s':>10}   (stages overlap)")
    for stage, spent in sorted(stages.items(), key=lambda item: -item[1]):
        rate = result.frames / spent if spent else 0.0
        print(f"{stage:<20}{spent:>8.2f}{spent / result.wall_s:>8.0%}{rate:>10.1f}")
    batches: list[BatchReport] = [batch for each in rounds for batch in each["batches"]]
    found = {
        "frames": result.frames,
        "frames_with_face": result.frames_with_face,
        "fps": round(result.frames / result.wall_s, 1),
        "wall_s": round(result.wall_s, 2),
        "generator_share": round(busy_s / result.wall_s, 3),
        "stage_s": {stage: round(spent, 2) for stage, spent in stages.items()},
        "two_at_once": round(statistics.median(each["ratio"] for each in rounds), 3),
        "two_at_once_fps": round(statistics.median(each["both_fps"] for each in rounds), 1),
        "batches": len(batches),
        "mixed_batches": sum(batch.mixed for batch in batches),
        "fill": round(statistics.mean(batch.size / batch.max_batch for batch in batches), 3),
    }
    print(f"\nend to end {found['fps']} frames/s; generator {found['generator_share']:.0%} of wall")
    print(
        f"two at once: {found['two_at_once']:.2f} of the throughput of one after the other, "
        f"{found['mixed_batches']} of {found['batches']} batches mixed, {found['fill']:.0%} full"
    )
    return found


def _network(backend: wav2lip.Wav2Lip, path: Path, items: list[LipItem]) -> dict[str, Any]:
    """The network against the published one in float32, on faces of the clip."""
    plain = Hourglass()
    plain.load_state_dict(wav2lip.read_state(path), strict=False)
    plain = plain.eval().requires_grad_(False)
    some = [items[number % len(items)] for number in range(BATCH)]
    faces = wav2lip.masked(torch.from_numpy(np.stack([wav2lip.shown(item) for item in some])))
    mels = torch.from_numpy(np.stack([item.feature for item in some])[:, None])
    ways: dict[str, Network] = {"published": plain, "ours": backend.network}
    spent: dict[str, list[float]] = {way: [] for way in ways}
    made = {}
    with torch.inference_mode():
        for _ in range(5):
            for way, network in ways.items():
                began = time.perf_counter()
                made[way] = network(mels, faces)
                spent[way].append(time.perf_counter() - began)
        began = time.perf_counter()
        backend.render(some)
        render_s = time.perf_counter() - began
    rates = {way: BATCH / statistics.median(times[1:]) for way, times in spent.items()}
    psnr_db = gate.psnr_db(made["ours"], made["published"])
    ratio = rates["ours"] / rates["published"]
    print(
        f"\nnetwork at batch {BATCH}, {torch.get_num_threads()} threads: published float32 "
        f"{rates['published']:.1f} frames/s, ours {rates['ours']:.1f}: {ratio:.2f} times, "
        f"PSNR {psnr_db:.1f} dB; pictures around it {render_s - BATCH / rates['ours']:.3f} s"
    )
    return {
        "published_fps": round(rates["published"], 1),
        "network_fps": round(rates["ours"], 1),
        "network_ratio": round(ratio, 2),
        "psnr_db": round(psnr_db, 1),
        "threads": torch.get_num_threads(),
    }


def _memory(args: argparse.Namespace) -> dict[str, Any]:
    """Peak memory of a process that makes a short and a long dub."""
    found = {}
    for seconds in (SHORT_S, args.long):
        command = [sys.executable, "-m", "benchmarks.lipsync", "--child", str(seconds)]
        command += ["--model", args.model, "--video", str(args.video), "--height", str(args.height)]
        command += ["--weights", str(args.weights)]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        found[seconds] = json.loads(done.stdout.strip().splitlines()[-1])
        print(f"{seconds:6g} s: {found[seconds]['mib']:7.0f} MiB, {found[seconds]['fps']} frames/s")
    ratio = found[args.long]["mib"] / found[SHORT_S]["mib"]
    print(f"ratio {ratio:.2f}")
    return {
        "memory": {f"{seconds:g} s": each for seconds, each in found.items()},
        "ratio": round(ratio, 3),
    }


def _memory_child(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    video = clip(args.video, folder / "clip.mp4", args.child, args.height)
    models = cast(args.model, args.weights, folder)
    hand = Stagehand(models.lipsync)
    result = one_dub(models, hand, video, folder / "dub")
    hand.lane.stop()
    return {"mib": round(peak_mib(os.getpid())), "fps": round(result.frames / result.wall_s, 1)}


if __name__ == "__main__":
    sys.exit(main())
