"""Measure a lip-sync model on the devices of a GPU configuration, and print a report.

    python scripts/benchmark_gpu.py --config auto [--quick] [--json FILE] [--model NAME] [--seeded]

Every device has a process with the model, as the server's workers; calls are real ones, on items
that a dub of the sample video asks for. A CPU serves as well (DEVICE=cpu DEVICE_SLOTS=0,1). What it
does not measure: whole videos (benchmarks/lipsync.py). The last line is the report as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

_ROOT = str(Path(__file__).resolve().parents[1])
if _ROOT not in sys.path:  # started by its path
    sys.path.insert(0, _ROOT)

from benchmarks.fleet import FleetError, Load, Member, Strategy, fleet, spread  # noqa: E402
from server.gpuconfig import plan_gpus  # noqa: E402
from server.lineup import line_up  # noqa: E402
from server.settings import (  # noqa: E402
    GpuConfig,
    Settings,
    SettingsError,
    load_settings,
    visible_devices,
)
from server.slots import find_slots  # noqa: E402

SIZES = (1, 2, 4, 8, 16, 32)
ROUNDS, QUICK_ROUNDS = 50, 5
BATCHES, QUICK_BATCHES = 20, 3
Report = dict[str, Any]


def summary_of(values_ms: Sequence[float]) -> dict[str, float]:
    """Mean, median, spread and percentiles (linear between neighbours) of milliseconds."""
    ordered = sorted(values_ms)

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (place - low) * (ordered[high] - ordered[low])

    figures = {
        "mean_ms": statistics.fmean(ordered),
        "median_ms": statistics.median(ordered),
        "std_ms": statistics.pstdev(ordered),
        "min_ms": ordered[0],
        "max_ms": ordered[-1],
        "p50_ms": at(0.50),
        "p95_ms": at(0.95),
        "p99_ms": at(0.99),
    }
    return {name: round(value, 3) for name, value in figures.items()}


def measure(members: Sequence[Member], *, quick: bool) -> Report:
    """All figures of a fleet; latency, throughput and memory are the first device's."""
    first = members[0]
    facts = first.ask("facts")
    size = facts["batch_size"]
    rounds = QUICK_ROUNDS if quick else ROUNDS
    report: Report = {"device": facts}
    report["latency"] = {
        "batch_size": size,
        "calls": rounds,
        **summary_of([1000 * spent for spent in first.ask("calls", size, rounds)]),
    }
    report["throughput"] = _throughput(first, size, max(2, rounds // 5))
    report["parallel"] = _parallel(members, size, QUICK_BATCHES if quick else BATCHES)
    report["memory"] = first.ask("memory")
    report["summary"] = _summary(report, len(members))
    return report


def _throughput(member: Member, largest: int, rounds: int) -> Report:
    """Frames per second by batch size."""
    found: Report = {}
    for size in sorted({*(size for size in SIZES if size <= largest), largest}):
        member.ask("call", size)  # the first call of a size warms it
        spent = statistics.median(member.ask("calls", size, rounds))
        found[str(size)] = {
            "frames_per_s": round(size / spent, 2),
            "batch_ms": round(1000 * spent, 3),
        }
    return found


def _parallel(members: Sequence[Member], size: int, batches: int) -> Report:
    """Frames per second of all devices by strategy, and their share of as many lone ones."""
    lone = spread(members[:1], Strategy.LOAD_BALANCE, batches, size)
    found: Report = {"devices": len(members), "lone_frames_per_s": round(lone, 2)}
    for strategy in Strategy:
        rate = spread(members, strategy, batches, size)
        found[strategy.value] = {
            "frames_per_s": round(rate, 2),
            "efficiency": round(rate / (lone * len(members)), 3),
        }
    return found


def _summary(report: Report, devices: int) -> Report:
    sizes, parallel = report["throughput"], report["parallel"]
    size = max(sizes, key=lambda name: sizes[name]["frames_per_s"])
    way = max(Strategy, key=lambda strategy: parallel[strategy.value]["frames_per_s"]).value
    return {
        "devices": devices,
        "best_batch_size": int(size),
        "best_frames_per_s": sizes[size]["frames_per_s"],
        "best_strategy": way,
        "all_devices_frames_per_s": parallel[way]["frames_per_s"],
        "efficiency": parallel[way]["efficiency"],
    }


def system() -> Report:
    """The machine."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "load_1min": round(os.getloadavg()[0], 2),
    }


def run(settings: Settings, args: argparse.Namespace) -> Report:
    """Plan, start the fleet, measure.

    Raises:
        SettingsError: the configuration cannot hold on this machine, or there is no such model.
        FleetError: the model cannot be loaded.
    """
    line_up(settings)
    gpus = plan_gpus(settings, find_slots(settings, visible_devices()))
    slots = gpus.slots
    threads = max(1, (os.cpu_count() or 1) // len(slots))
    weights = None if args.seeded else settings.weights_dir
    load = Load(settings.lipsync_model, weights, settings, gpus, threads)
    head = {
        "configuration": settings.gpu_config.value,
        "model": settings.lipsync_model,
        "quick": args.quick,
        "amp": gpus.amp,
        "memory_fraction": gpus.memory_fraction,
    }
    with fleet(slots, load) as members:
        return {**head, **measure(members, quick=args.quick), "system": system()}


def show(report: Report) -> None:
    """The report for people; its last line is JSON."""
    device, latency = report["device"], report["latency"]
    print(f"{report['model']} ({device['models']}), configuration {report['configuration']}")
    print(f"device: {device['device']} x {report['parallel']['devices']} ({device['why']})")
    print(f"latency of a batch of {latency['batch_size']}, {latency['calls']} calls:")
    print("  " + "  ".join(f"{k[:-3]} {v:.1f}" for k, v in latency.items() if k.endswith("_ms")))
    print("throughput:")
    for size, found in report["throughput"].items():
        print(f"  batch {size:>3}: {found['frames_per_s']:>9.1f} frames/s")
    print(f"parallel: one device alone {report['parallel']['lone_frames_per_s']:.1f} frames/s")
    for strategy in Strategy:
        found = report["parallel"][strategy.value]
        line = f"{found['frames_per_s']:>9.1f} frames/s, efficiency {found['efficiency']:.2f}"
        print(f"  {strategy.value:<14}{line}")
    memory = {key: value for key, value in report["memory"].items() if value is not None}
    print("memory: " + ", ".join(f"{key[:-6]} {value >> 20} MiB" for key, value in memory.items()))
    print(f"system: {report['system']['platform']}, {report['system']['cores']} cores")
    print(json.dumps(report))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 2 for a configuration or model that cannot be used."""
    parser = argparse.ArgumentParser(description="Measure a lip-sync model on GPUs (or a CPU).")
    parser.add_argument(
        "--config", choices=[one.value for one in GpuConfig], help="GPU_CONFIG (default: as set)"
    )
    parser.add_argument("--quick", action="store_true", help="a few calls only")
    parser.add_argument("--json", type=Path, help="write the report here, too")
    parser.add_argument("--model", help="lip-sync model (default: LIPSYNC_MODEL)")
    parser.add_argument("--seeded", action="store_true", help="stand-in weights: cost as much")
    args = parser.parse_args(arguments)
    changes = {"gpu_config": args.config, "lipsync_model": args.model}
    try:
        settings = load_settings(**{name: value for name, value in changes.items() if value})
        report = run(settings, args)
    except (SettingsError, FleetError) as error:
        print(f"benchmark_gpu: {error}", file=sys.stderr)
        return 2
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    show(report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
