"""The models of a worker: loads those of the lineup, gives engines to the lane and tools to jobs.

What it is not: the choice of models (lineup.py) or the order of a boot (boot.py). A face detector
and the default lip-sync model must load, or the worker does not start; any other that cannot is
said in the log and in /health, and jobs that name it are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from models.lane import Engine, Lane, Priority
from models.lipsync.base import LipItem, LipPatch, LipSync
from models.registry import ModelError, Registry
from server.device import BootError, needs_gpu
from server.lineup import VISEME, Lineup
from server.settings import Settings
from server.state import WorkerState
from trans_dh_service.task import (
    DubTools,
    Encoding,
    MediaLimits,
    RestoreTools,
    RestTools,
)

_log = structlog.get_logger("server.stock")


class LipSyncEngine:
    """A lip-sync backend as an engine of the lane."""

    priority = Priority.BATCH

    def __init__(self, name: str, backend: LipSync, batch_size: int) -> None:
        self.name = name
        self.max_batch = min(backend.max_batch, batch_size)
        self._backend = backend

    def run(self, items: Sequence[LipItem]) -> Sequence[LipPatch]:
        """One patch per item."""
        return self._backend.render(items)


class Stock:
    """One worker's models. `load` comes first."""

    def __init__(
        self, settings: Settings, state: WorkerState, registry: Registry, lineup: Lineup
    ) -> None:
        self._settings = settings
        self._state = state
        self._registry = registry
        self._lineup = lineup
        self._detector = ""
        self._landmarks = ""
        self._restorer = ""
        self._lipsync: dict[str, LipSync] = {}

    def load(self) -> None:
        """Load the models, those that must be there first.

        Raises:
            BootError: no detector can be loaded, or not the default lip-sync model.
        """
        default, *more = self._lineup.lipsync
        self._detector = self._first(self._lineup.detectors)
        self._take(default)
        for name in more:
            self._try_to_take(name)
        if any(backend.wants_landmarks for backend in self._lipsync.values()):
            self._landmarks = self._try(self._lineup.landmarks)
        self._restorer = self._try(self._lineup.restorer)
        self._state.detector = self._detector
        self._state.lipsync = self._lineup.lipsync
        _log.info(
            "models",
            detector=self._detector,
            landmarks=self._landmarks or "none",
            restorer=self._restorer or "none",
            lipsync=", ".join(self._lipsync),
        )

    def engines(self) -> list[Engine]:
        """An engine of the lane for each lip-sync model, and the restorer, which is one itself."""
        size = self._settings.batch_size_per_gpu
        lips = [LipSyncEngine(name, each, size) for name, each in self._lipsync.items()]
        return [*lips, self._registry.get(self._restorer)] if self._restorer else [*lips]

    def tools(self, lane: Lane, cache_dir: Path, name: str) -> DubTools:
        """What one job of this lip-sync model works with; each call is one caller of the lane.

        Raises:
            ModelError: the model is not loaded.
        """
        settings = self._settings
        backend: LipSync = self._registry.get(name)
        caller = object()
        return DubTools(
            detector=self._registry.get(self._detector).clone(),
            speech=self._registry.get(backend.speech),
            lipsync=backend,
            submit=lambda item: lane.submit(name, item, caller),
            cache_dir=cache_dir,
            limits=MediaLimits(
                settings.max_video_s, settings.max_audio_s, settings.max_pixels, settings.max_fps
            ),
            encoding=Encoding(settings.x264_preset, settings.x264_crf, settings.encoder_threads),
            rest=self._rest(lane, caller) if backend.infers else None,
            restore=self._restore(lane, caller),
            landmarks=self._registry.get(self._landmarks) if self._wanted(backend) else None,
        )

    def _wanted(self, backend: LipSync) -> bool:
        return backend.wants_landmarks and self._landmarks != ""

    def _rest(self, lane: Lane, caller: object) -> RestTools | None:
        """The embedded backend with its mouth closed, for silent stretches of another."""
        backend = self._lipsync.get(VISEME)
        if backend is None or not self._settings.rest_in_silence:
            return None
        from models.lipsync.viseme import AT_REST

        return RestTools(backend, lambda item: lane.submit(VISEME, item, caller), AT_REST)

    def _restore(self, lane: Lane, caller: object) -> RestoreTools | None:
        """The way to the restorer, where there is one."""
        if not self._restorer:
            return None
        engine = self._registry.get(self._restorer)
        return RestoreTools(
            name=engine.label,
            size_px=engine.size_px,
            max_batch=engine.max_batch,
            submit=lambda face: lane.submit(engine.name, face, caller),
        )

    def _first(self, names: Sequence[str]) -> str:
        """The first detector that loads; all but the last may fail."""
        for name in names[:-1]:
            if self._try(name):
                return name
        self._load(names[-1])
        return names[-1]

    def _take(self, name: str) -> None:
        self._load(name)
        backend: LipSync = self._registry.get(name)
        self._load(backend.speech)
        self._lipsync[name] = backend

    def _try_to_take(self, name: str) -> None:
        try:
            self._take(name)
        except BootError as error:
            _log.error("a model is left out", model=name, why=str(error))

    def _try(self, name: str) -> str:
        """The name, when this model could be loaded; "" is no model."""
        if not name:
            return ""
        try:
            self._load(name)
        except BootError as error:
            _log.error("a model is left out", model=name, why=str(error))
            return ""
        return name

    def _load(self, name: str) -> None:
        device, weights = self._state.device.kind, self._settings.weights_dir
        try:
            self._registry.load_all(device, weights, [name])
        except ModelError as error:
            asked = needs_gpu(self._settings)
            if not error.on_device or device == "cpu":
                raise BootError(str(error), final=error.final) from error
            if asked:
                raise BootError(f"{asked}: {error}", final=True) from error
            _log.warning("a model runs on the CPU", model=name, why=str(error))
            self._on_cpu(name, weights)
        self._state.device = replace(
            self._state.device, onnx_providers=self._registry.providers or ("CPUExecutionProvider",)
        )

    def _on_cpu(self, name: str, weights: Path) -> None:
        try:
            self._registry.load_all("cpu", weights, [name])
        except ModelError as error:
            raise BootError(str(error), final=error.final) from error
