"""A worker's life: loading, ready, draining, the end. It owns the phases of WorkerState.

What it is not: HTTP, or the steps of a boot (boot.py). All work is done in native threads of its
own; `start` and `drain` never block, and `drain` may be called from a signal handler.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from dataclasses import replace
from typing import Any

import structlog

from server import metrics
from server.board import Board, Outcome
from server.boot import Boot, Files, Parts, StoppedBootError, Workbench
from server.device import BootError, device_memory
from server.gpuconfig import plan_gpus
from server.master import Place
from server.nvml import Nvml
from server.settings import Settings, visible_devices
from server.slots import find_slots
from server.state import Phase, WorkerState
from server.watchdog import Watchdog, available_bytes, rss_bytes

_TICK_S = 1.0
# Writing all metrics down takes milliseconds of the interpreter; Prometheus asks every 15 s or so.
_METRICS_EVERY = 5
# Longer than any job may take: a recycled worker waits for its jobs, however long.
_RECYCLE_S = 6 * 3600.0

_log = structlog.get_logger("server.lifecycle")


def lone_place(settings: Settings) -> Place:
    """The place of a server without Gunicorn: the first slot, and a board nobody else reads."""
    board = Board()
    gpus = plan_gpus(settings, find_slots(settings, visible_devices()))
    return Place(gpus.slots[0], board.note(1), board, None, replace(gpus, workers=1))


class Lifecycle:
    """One per process."""

    def __init__(
        self,
        settings: Settings,
        state: WorkerState,
        store: Any,
        files: Files,
        parts: Parts | None = None,
    ) -> None:
        self._settings = settings
        self._state = state
        self._boot = Boot(settings, state, store, files, parts or Parts())
        self._place: Place | None = None
        self._bench: Workbench | None = None
        self._events: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._booted = threading.Event()
        self._drained = threading.Event()
        self._watchdog = Watchdog(settings)
        self._recycling = False
        self._parent = os.getppid()
        self._deadline: float | None = None
        self._restarts = 0
        self._ticks = 0
        self._text = ""
        self._nvml: Nvml | None = None

    def start(self, place: Place | None = None) -> None:
        """Begin the boot; returns at once."""
        place = self._place = place or lone_place(self._settings)
        self._state.roster = place.desk.roster
        # Probes tell the slot from the first moment on; the device itself is opened later.
        self._state.device = replace(self._state.device, slot=place.slot.index)
        self._say(place)
        self._parent = os.getppid()
        self._measure_restarts()
        for target in (self._run_boot, self._keep):
            threading.Thread(target=target, name=f"life-{target.__name__}", daemon=True).start()

    def _say(self, place: Place, *, fresh: bool = True) -> None:
        """Tell the other workers how this one is; `fresh`: with metrics of now."""
        if fresh and place.gpus.workers > 1:
            self._text = metrics.render()[0].decode()
        place.desk.write(self._state.present(self._text))

    def drain(self, reason: str) -> None:
        """Take no more work; running jobs go back to the queue. Safe in a signal handler."""
        self._events.put(reason)

    def stop(self, timeout_s: float) -> None:
        """Drain if that has not been done, and end every thread, within about `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        self._deadline = deadline
        self.drain("stop")
        if not self._drained.wait(timeout_s):
            _log.warning("running jobs did not stop in time; they are recovered at the next start")
        if self._bench is not None:
            self._bench.texts.stop(max(0.1, (deadline - time.monotonic()) / 2))
            self._bench.lane.stop(max(0.1, deadline - time.monotonic()))

    def device_lost(self, reason: str) -> None:
        """The device's context is dead: every later call would fail, so the process is replaced.

        Jobs in work are recovered by the next worker; one that does this again and again ends by
        its crash count.
        """
        self._state.reason = reason
        self._state.phase = Phase.FAILED
        self._state.draining.set()
        _log.critical("device lost, the worker ends", reason=reason)
        threading.Timer(0.5, os._exit, (1,)).start()

    # The boot thread

    def _run_boot(self) -> None:
        place = self._place
        if place is None:
            return
        self._watch_boot()
        try:
            self._bench = self._boot.run(place, self.device_lost)
        except StoppedBootError:
            self._note_stopped(place)
        except BootError as error:
            self._fail(str(error), final=error.final)
        except Exception as error:  # noqa: BLE001 - border of the process: the reason must get out
            _log.exception("boot failed")
            self._fail(f"{type(error).__name__}: {error}", final=False)
        else:
            self._become_ready(place)
        finally:
            self._booted.set()

    def _become_ready(self, place: Place) -> None:
        place.note.write(Outcome.READY)
        self._state.reason = ""
        if not self._state.draining.is_set():
            self._state.phase = Phase.READY
            self._say(place)
            _log.info("ready", seconds=round(time.time() - self._state.started_at, 2))

    def _watch_boot(self) -> None:
        """End a boot that hangs: models load outside Gunicorn's own `timeout`."""
        limit_s = self._settings.boot_timeout_s

        def watch() -> None:
            if not self._booted.wait(limit_s):
                self._fail(
                    f"not ready within {limit_s:g} s (BOOT_TIMEOUT_S), while {self._state.reason}",
                    final=False,
                )

        threading.Thread(target=watch, name="life-boot-limit", daemon=True).start()

    def _fail(self, reason: str, *, final: bool) -> None:
        """Write the reason where people and the master see it, and end the process."""
        if self._state.draining.is_set() and not final:
            return
        if self._place is not None:
            self._place.note.write(Outcome.REFUSED if final else Outcome.FAILED, reason)
        self._state.reason = reason
        self._state.phase = Phase.FAILED
        _log.error("the worker cannot become ready", reason=reason)
        os.kill(os.getpid(), signal.SIGTERM)

    # The keeper thread

    def _keep(self) -> None:
        while True:
            try:
                reason = self._events.get(timeout=_TICK_S)
            except queue.Empty:
                reason = "the master is gone" if os.getppid() != self._parent else ""
            if reason:
                self._drain(reason)
                return
            self._tick()

    def _tick(self) -> None:
        try:
            self._measure()
            if self._place is not None:
                self._ticks += 1
                self._say(self._place, fresh=self._ticks % _METRICS_EVERY == 0)
        except Exception:  # noqa: BLE001 - figures must not end the keeper
            _log.exception("measuring failed")
        bench = self._bench
        if bench is None or self._recycling or not self._state.ready:
            return
        why = self._watchdog.reason(bench.runner.finished)
        if why:
            self._recycling = True
            threading.Thread(
                target=self._recycle, args=(bench, why), name="life-recycle", daemon=True
            ).start()

    def _measure(self) -> None:
        metrics.RSS_BYTES.set(rss_bytes())
        metrics.MEMORY_AVAILABLE_BYTES.set(available_bytes())
        for phase in Phase:
            metrics.PHASE.labels(phase.value).set(self._state.phase is phase)
        self._measure_restarts()
        self._measure_texts()
        device = self._state.device
        if device.kind != "cuda":
            return
        device = self._state.device = device_memory(device)
        if device.memory_allocated_bytes is not None:
            metrics.DEVICE_MEMORY_BYTES.labels("allocated").set(device.memory_allocated_bytes)
            metrics.DEVICE_MEMORY_BYTES.labels("reserved").set(device.memory_reserved_bytes or 0)
        if device.uuid:
            self._nvml = self._nvml or Nvml(device.uuid)
            metrics.set_gpu(device.uuid, self._nvml.read())

    def _measure_restarts(self) -> None:
        """The board counts all starts, those of the other workers, too."""
        place = self._place
        if place is None:
            return
        restarts = max(0, place.board.starts - place.gpus.workers)
        metrics.WORKER_RESTARTS.inc(max(0, restarts - self._restarts))
        self._restarts = max(restarts, self._restarts)

    def _measure_texts(self) -> None:
        for served in self._bench.texts.served() if self._bench is not None else ():
            stats = served.engine.stats()
            metrics.TEXT_ACTIVE.labels(served.name).set(stats.active)
            metrics.TEXT_WAITING.labels(served.name).set(stats.waiting)

    def _recycle(self, bench: Workbench, why: str) -> None:
        """Let the running jobs finish, then end: the master starts a fresh worker."""
        _log.info("the worker is replaced", reason=why, running=bench.runner.running)
        bench.runner.finish_and_stop(_RECYCLE_S)
        os.kill(os.getpid(), signal.SIGTERM)

    def _drain(self, reason: str) -> None:
        self._state.draining.set()
        if self._state.phase in (Phase.READY, Phase.LOADING):
            self._state.phase = Phase.DRAINING
            self._state.reason = reason
        _log.info("draining", reason=reason)
        if self._place is not None:
            self._say(self._place)
        if not self._booted.is_set() and self._place is not None:
            self._note_stopped(self._place)
        if self._state.phase is not Phase.FAILED:
            self._booted.wait(self._left_s())
        if self._bench is not None:
            self._bench.runner.drain(self._left_s())
        self._drained.set()

    def _note_stopped(self, place: Place) -> None:
        """A boot that was asked to end has not failed; one that failed keeps its reason."""
        if self._state.phase is not Phase.FAILED:
            place.note.write(Outcome.STOPPED)

    def _left_s(self) -> float:
        if self._deadline is None:
            return max(1.0, self._settings.graceful_timeout_s - 2)
        return max(0.1, self._deadline - time.monotonic())
