"""A worker's boot: lease, device, models, lane, text models, job runner, in this order.

What it is not: the phases around it (lifecycle.py). Runs in the boot thread, while requests are
already answered; heavy modules are imported here and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from models.catalog import ENTRIES, ModelEntry
from models.lane import BatchReport, Lane
from models.registry import Registry
from server import metrics
from server.board import Outcome
from server.device import BootError, open_device, tune
from server.lease import Lease, LeaseError
from server.lineup import line_up
from server.master import Place
from server.settings import Settings, SettingsError
from server.state import DeviceReport, WorkerState
from server.stock import Stock
from server.textload import Opener, TextBench, TextLoader, open_text
from server.texts import Texts

_log = structlog.get_logger("server.boot")


class Runner(Protocol):
    """What the lifecycle asks of the job runner (server/jobs/runner.py)."""

    @property
    def running(self) -> int:
        """Jobs in work."""

    @property
    def finished(self) -> int:
        """Jobs ended since the start."""

    def start(self) -> None:
        """Begin to take jobs."""

    def drain(self, timeout_s: float) -> None:
        """Take no more; give the running ones back at their next batch."""

    def finish_and_stop(self, timeout_s: float) -> None:
        """Take no more; let the running ones finish."""


class Files(Protocol):
    """What the boot asks of JobFiles (server/jobs/files.py)."""

    @property
    def run(self) -> Any:
        """Folder of leases."""

    @property
    def cache(self) -> Any:
        """Folder of what was learned about source videos."""


class StoppedBootError(Exception):
    """The worker was asked to end while it booted."""


def _job_runner(**arguments: Any) -> Runner:
    """The real runner; its import brings PyAV and OpenCV, too slow for the way to "loading"."""
    from server.jobs.runner import JobRunner

    runner: Runner = JobRunner(**arguments)
    return runner


@dataclass(frozen=True)
class Parts:
    """What a boot is made of; tests replace them."""

    entries: Sequence[ModelEntry] = ENTRIES
    runner: Callable[..., Runner] = _job_runner
    texts: Texts = field(default_factory=Texts)
    open_text: Opener = open_text


@dataclass(frozen=True)
class Workbench:
    """A booted worker's parts."""

    lease: Lease
    registry: Registry
    lane: Lane
    runner: Runner
    texts: Texts


class Boot:
    """One boot. `run` does it; `step` says where it is."""

    def __init__(
        self, settings: Settings, state: WorkerState, store: Any, files: Files, parts: Parts
    ) -> None:
        self._settings = settings
        self._state = state
        self._store = store
        self._files = files
        self._parts = parts
        self._on_dead: Callable[[str], None] = _log.critical
        self._place: Place | None = None
        self._runner: Runner | None = None

    def run(self, place: Place, on_dead: Callable[[str], None]) -> Workbench:
        """Boot the worker; `on_dead` is told when the device is lost later on.

        Raises:
            BootError: with the reason and whether another try can help.
            StoppedBootError: the worker drains.
        """
        self._place, self._on_dead = place, on_dead
        with ExitStack() as undo:
            lease = self._take_lease(place)
            self._step("opening the device")
            self._state.device = open_device(self._settings, place.slot)
            _say_device(self._state.device)
            self._settings = tune(place.gpus, self._settings, self._state.device)
            registry, stock = self._load_models()
            self._step("starting the lane")
            lane = Lane(stock.engines(), on_batch=record_batch, on_dead=self._on_dead)
            lane.start()
            undo.callback(lane.stop)
            undo.callback(self._parts.texts.stop, 1.0)
            self._load_texts(lane)
            runner = self._start_runner(stock, lane)
            undo.pop_all()
        return Workbench(lease, registry, lane, runner, self._parts.texts)

    def _step(self, text: str) -> None:
        if self._state.draining.is_set():
            raise StoppedBootError
        self._state.reason = text
        if self._place is not None:
            self._place.note.write(Outcome.BOOTING, text)
        _log.info("boot", step=text)

    def _take_lease(self, place: Place) -> Lease:
        lease = Lease(self._files.run / f"device-{place.slot.name}.lock")
        self._step(f"waiting for the lease on {place.slot.name}")
        try:
            lease.acquire(self._settings.lease_timeout_s, self._state.draining.is_set)
        except LeaseError as error:
            self._step("giving up the lease")
            raise BootError(str(error), final=False) from error
        except OSError as error:
            raise BootError(f"no lease on the device: {error}", final=True) from error
        return lease

    def _load_models(self) -> tuple[Registry, Stock]:
        self._step("loading models")
        settings = self._settings
        registry = Registry(self._parts.entries)
        texts = self._parts.texts

        def say() -> None:
            self._state.models = {**texts.statuses(), **registry.status()}

        say()
        registry.on_change = texts.on_change = say
        try:
            lineup = line_up(settings, self._parts.entries)
        except SettingsError as error:
            raise BootError(str(error), final=True) from error
        stock = Stock(settings, self._state, registry, lineup)
        stock.load()
        return registry, stock

    def _load_texts(self, lane: Lane) -> None:
        """The configured text models; one that fails is said in /health and stops nothing."""
        bench = TextBench(self._settings, self._state.device.kind, lane, self._works)
        loader = TextLoader(self._parts.texts, bench, self._parts.open_text)
        loader.load_eager(self._step)
        loader.start()

    def _works(self) -> bool:
        return self._runner is not None and self._runner.running > 0

    def _start_runner(self, stock: Stock, lane: Lane) -> Runner:
        self._step("starting the job runner")
        runner = self._parts.runner(
            settings=self._settings,
            state=self._state,
            store=self._store,
            files=self._files,
            tools=lambda model: stock.tools(lane, self._files.cache, model),
        )
        runner.start()
        self._runner = runner
        return runner


def _say_device(report: DeviceReport) -> None:
    _log.info("device", kind=report.kind, name=report.name, slot=report.slot, why=report.why)


def record_batch(report: BatchReport) -> None:
    """One batch of the lane into the metrics."""
    name = report.engine
    metrics.BATCH_SIZE.labels(name).observe(report.size)
    metrics.BATCH_FILL.labels(name).observe(report.size / report.max_batch)
    metrics.LANE_WAIT_SECONDS.labels(name).observe(report.waited_s)
    metrics.LANE_BUSY_SECONDS.labels(name).inc(report.busy_s)
    metrics.MIXED_BATCHES.labels(name).inc(report.mixed)
    metrics.OOMS.labels(name).inc(report.ooms)
