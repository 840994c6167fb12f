"""What lip-sync benchmarks share: models (stand-ins where files are absent), clips, one dub on a
lane that counts its batches.

What it is not: a benchmark.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from benchmarks.quiet import Quiet
from face_detect_utils import haar, yunet
from face_detect_utils.base import FaceDetector
from models.audio.base import SpeechModel
from models.catalog import ENTRIES
from models.files import lacking
from models.lane import BatchReport, Lane, Priority
from models.lipsync.base import LipItem, LipPatch, LipSync
from models.lipsync.musetalk import V1, V15, MuseTalk
from trans_dh_service.pipeline import dub
from trans_dh_service.task import DubResult, DubTask, DubTools

MODELS = ("wav2lip", "wav2lip-gan", "musetalk", "musetalk-v1.5", "viseme")
ENGINE = "lips"
KEPT_ITEMS = 16


@dataclass(frozen=True)
class Cast:
    """The models of a dub. `note` says which weights and which detector these are."""

    lipsync: LipSync
    speech: SpeechModel
    detector: FaceDetector
    note: str


def cast(model: str, weights: Path, folder: Path) -> Cast:
    """Models from the files in `weights`; without them the network with stand-in weights, which
    cost as much (MuseTalk: a narrow one, which does not).
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    entry = next(entry for entry in ENTRIES if entry.name == model)
    detector: FaceDetector = haar.load(device, weights)
    if yunet.find(weights) is not None:
        detector = yunet.load(device, weights)
    if not lacking(entry, weights, ENTRIES):
        lipsync = _loaded(model, device, weights)
        note, speech = "published files", _loaded(lipsync.speech, device, weights)
    elif model.startswith("wav2lip"):
        _write_wav2lip(folder / f"{model.replace('-', '_')}.pth")
        lipsync, speech = _loaded(model, device, folder), _loaded("mel", device, folder)
        note = "stand-in weights"
    else:
        lipsync, speech = _narrow_musetalk(model, device)
        note = "stand-in weights, narrow networks"
    return Cast(lipsync, speech, detector, f"{note}; detector {detector.name}; {device}")


def _loaded(name: str, device: str, weights: Path) -> Any:
    loader = next(entry.loader for entry in ENTRIES if entry.name == name)
    module, _, function = loader.partition(":")
    return getattr(import_module(module), function)(device, weights)


def _write_wav2lip(path: Path) -> None:
    from tests.data import wav2lip

    state = {f"module.{key}": value for key, value in wav2lip.state().items()}
    torch.save({"state_dict": state}, path)


def _narrow_musetalk(model: str, device: str) -> tuple[LipSync, SpeechModel]:
    from models.lipsync.muse.chain import Chain, Precision
    from tests.data import musetalk

    chain = Chain(musetalk.published(), device, Precision())
    return MuseTalk(V1 if model == "musetalk" else V15, chain), musetalk.speech_model()


def clip(source: Path, target: Path, seconds: float, short_side_px: int) -> Path:
    """The first `seconds` of a video with its sound, repeated where it is shorter, scaled."""
    size = f"scale='if(gt(iw,ih),-2,{short_side_px})':'if(gt(iw,ih),{short_side_px},-2)'"
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-stream_loop", "-1", "-i", str(source)]
    command += ["-t", str(seconds), "-vf", size, "-c:v", "libx264", "-preset", "veryfast"]
    command += ["-crf", "18", "-g", "50", "-c:a", "aac", str(target)]
    subprocess.run(command, check=True)
    return target


@dataclass(eq=False)
class Stagehand:
    """A lane with one backend, what it reported, and the first items that it worked on."""

    lipsync: LipSync
    reports: list[BatchReport] = field(default_factory=list)
    items: list[LipItem] = field(default_factory=list)

    name = ENGINE
    priority = Priority.BATCH

    def __post_init__(self) -> None:
        self.max_batch = self.lipsync.max_batch
        self.lane = Lane([self], on_batch=self.reports.append)
        self.lane.start()

    def run(self, items: Sequence[LipItem]) -> list[LipPatch]:
        """The engine's work."""
        self.items += items[: KEPT_ITEMS - len(self.items)]
        return self.lipsync.render(items)

    def submitter(self) -> Callable[[LipItem], Any]:
        """The way into the lane for one job."""
        caller = object()
        return lambda item: self.lane.submit(ENGINE, item, caller)


def one_dub(models: Cast, hand: Stagehand, video: Path, folder: Path) -> DubResult:
    """A dub of a video with its own sound, everything in a fresh `folder`."""
    tools = DubTools(
        models.detector.clone(), models.speech, models.lipsync, hand.submitter(), folder / "cache"
    )
    task = DubTask(video, video, folder / "work", folder / "out.mp4")
    return dub(task, tools, Quiet())
