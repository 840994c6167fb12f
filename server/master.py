"""The Gunicorn master's part: checks at start, device slots, the ops socket, boots that fail.

What it is not: the worker's life (worker.py, lifecycle.py). Everything here runs in the master,
which must never import torch, onnxruntime or cv2: CUDA does not survive a fork.
"""

from __future__ import annotations

import ctypes
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from gunicorn.errors import HaltServer

from server.board import Board, Note, Outcome
from server.gpuconfig import GpuPlan, plan_gpus
from server.jobs.files import JobFiles
from server.ops import listen
from server.roster import Desk, Roster
from server.settings import Settings
from server.slots import Slot, find_slots

OUR_GEVENT = "server.gevent_worker.NativeGeventWorker"
_GTHREAD = ("gthread", "gunicorn.workers.gthread.ThreadWorker")
_REFUSED_EXIT = 2
_BOOT_EXIT = 3
_MAX_FAILED_BOOTS = 3
_NOT_INITIALIZED = 3  # CUDA_ERROR_NOT_INITIALIZED
_SUSPECTS = ("torch", "onnxruntime", "cv2", "tensorflow", "jax", "cupy", "pycuda", "numba")

OPS_FD_VARIABLE = "MOUTHPIECE_OPS_FD"


@dataclass(frozen=True)
class Place:
    """What the master gives a worker: its slot, its record on the board, the ops socket, how the
    GPUs are used, its desk among the other workers.
    """

    slot: Slot
    note: Note
    board: Board
    ops_socket: socket.socket | None
    gpus: GpuPlan = GpuPlan()
    desk: Desk = field(default_factory=lambda: Roster().desk(0))


class Master:
    """One per server; it lives through reloads, while gunicorn.conf.py is read again."""

    def __init__(self, settings: Settings, gpus: GpuPlan) -> None:
        self.settings = settings
        self.gpus = gpus
        self.slots = gpus.slots
        self.board = Board()
        self.roster = Roster()
        self.ops_socket: socket.socket | None = None
        self._taken: dict[int, Slot] = {}
        self._failed_boots = 0

    def on_starting(self, server: Any, ops_fd: int | None = None) -> None:
        """Refuse what cannot work, each with its reason; bind the ops socket."""
        refusal = (
            refuse(server.cfg, self.slots)
            or self._refuse_total(server.cfg)
            or JobFiles(self.settings.data_dir).refusal()
        )
        if refusal:
            server.log.error("refused to start: %s", refusal)
            sys.exit(_REFUSED_EXIT)
        if server.cfg.max_requests > 0:
            server.log.warning(
                "max_requests=%s is ignored and set to 0: with one worker it means an outage while"
                " the models load again, and probes count. Use GUNICORN_MAX_MEMORY (MiB) or"
                " GUNICORN_MAX_JOBS, which drain first.",
                server.cfg.max_requests,
            )
        enforce(server.cfg)
        self._open_ops(server, ops_fd)

    def _refuse_total(self, cfg: Any) -> str:
        if self.settings.total_batch_size is None or cfg.workers == self.gpus.workers:
            return ""
        return (
            f"TOTAL_BATCH_SIZE={self.settings.total_batch_size} was divided among"
            f" {self.gpus.workers} worker(s) and the command line asks for {cfg.workers}: set"
            " GUNICORN_WORKERS instead of -w"
        )

    def _open_ops(self, server: Any, ops_fd: int | None) -> None:
        settings = self.settings
        if not settings.ops_port:
            return
        try:
            self.ops_socket = listen(settings.ops_host, settings.ops_port, ops_fd)
        except OSError as error:
            server.log.error(
                "refused to start: OPS_HOST=%s OPS_PORT=%s: %s. Set OPS_PORT to a free port, or to"
                " 0 to switch the ops listener off.",
                settings.ops_host,
                settings.ops_port,
                error.strerror or error,
            )
            sys.exit(_REFUSED_EXIT)
        server.log.info("probes and metrics at http://%s:%s", settings.ops_host, settings.ops_port)

    def nworkers_changed(self, server: Any, new: int, old: int | None) -> None:
        """Hold SIGTTIN within the device slots. At start `old` is None and on_starting refuses."""
        if old is not None and new > len(self.slots):
            server.log.warning(
                "workers=%s is more than the device slots (%s): kept at %s",
                new,
                len(self.slots),
                len(self.slots),
            )
            server.num_workers = len(self.slots)

    def pre_fork(self, server: Any, worker: Any) -> None:
        """Refuse to fork a poisoned master; choose the worker's slot, the lowest that is free.

        During a reload none is free: the new worker shares a slot and waits for the lease.
        """
        poison = poisoned()
        if poison:
            raise HaltServer(poison, _REFUSED_EXIT)
        owners = Counter(slot.index for slot in self._taken.values())
        self._taken[worker.age] = min(self.slots, key=lambda slot: (owners[slot.index], slot.index))
        self.board.note(worker.age).write(Outcome.BOOTING, "starting")
        self.board.count_start()

    def place(self, worker: Any) -> Place:
        """The place of a worker; asked in the worker, after the fork."""
        note = self.board.note(worker.age)
        gpus = replace(self.gpus, workers=worker.cfg.workers)
        desk = self.roster.desk(worker.age)
        return Place(self._taken[worker.age], note, self.board, self.ops_socket, gpus, desk)

    def child_exit(self, server: Any, worker: Any) -> None:
        """Free the slot; end the server when boots keep failing."""
        self._taken.pop(worker.age, None)
        self.roster.desk(worker.age).clear()
        outcome, text = self.board.note(worker.age).read()
        stopping = not server.LISTENERS  # Gunicorn closes them first of all when it stops
        if outcome is Outcome.REFUSED and not stopping:
            raise HaltServer(text, _BOOT_EXIT)
        if outcome in (Outcome.READY, Outcome.STOPPED) or stopping:
            self._failed_boots = 0
            return
        if outcome is Outcome.BOOTING:
            text = f"the worker died while it was {text}"
        self._failed_boots += 1
        server.log.error("boot %s of %s failed: %s", self._failed_boots, _MAX_FAILED_BOOTS, text)
        if self._failed_boots >= _MAX_FAILED_BOOTS:
            raise HaltServer(
                f"{_MAX_FAILED_BOOTS} workers in a row failed before they were ready; the last: "
                f"{text}",
                _BOOT_EXIT,
            )

    def pre_exec(self, server: Any) -> None:
        """Hand the ops socket on to a new master (SIGUSR2)."""
        if self.ops_socket is not None:
            self.ops_socket.set_inheritable(True)
            server.cfg.env_orig[OPS_FD_VARIABLE] = str(self.ops_socket.fileno())


_master: Master | None = None


def get_master(settings: Settings, visible: str | None) -> Master:
    """The master of this process, made on the first call.

    Raises:
        SettingsError: a device slot is named twice, or GPU_CONFIG and others contradict each other.
    """
    global _master
    if _master is None:
        _master = Master(settings, plan_gpus(settings, find_slots(settings, visible)))
    return _master


def enforce(cfg: Any) -> None:
    """Set what must hold whatever the command line says."""
    if cfg.max_requests > 0:
        cfg.set("max_requests", 0)


def refuse(cfg: Any, slots: tuple[Slot, ...]) -> str:
    """Why this configuration cannot work; empty when it can."""
    return next((reason for _, reason in refusals(cfg, slots)), "")


def refusals(cfg: Any, slots: tuple[Slot, ...]) -> Iterator[tuple[str, str]]:
    """Every reason why it cannot work, each with a name for it."""
    reasons = {
        "preload-on": _refuse_preload(cfg),
        "worker-class": _refuse_class(cfg.settings["worker_class"].get()),
        "workers-over-slots": _refuse_workers(cfg.workers, slots),
    }
    yield from ((name, reason) for name, reason in reasons.items() if reason)


def _refuse_preload(cfg: Any) -> str:
    if not cfg.preload_app:
        return ""
    return (
        "preload_app=True would load the app in the master, and CUDA does not survive a fork."
        " Unset GUNICORN_PRELOAD (or GUNICORN_PRELOAD_APP, --preload)."
    )


def _refuse_class(chosen: Any) -> str:
    if chosen in (*_GTHREAD, OUR_GEVENT):
        return ""
    name = chosen if isinstance(chosen, str) else getattr(chosen, "__name__", str(chosen))
    if "gevent" in name.lower():
        return (
            f"worker class {name!r} makes native threads cooperative, and one model call would stop"
            " every request. Set GUNICORN_WORKER_CLASS=gevent without -k: that takes our own class,"
            " which leaves threads native."
        )
    return (
        f"worker class {name!r} cannot answer probes while it works."
        " Set GUNICORN_WORKER_CLASS=gthread (the default) or gevent."
    )


def _refuse_workers(workers: int, slots: tuple[Slot, ...]) -> str:
    if workers <= len(slots):
        return ""
    names = ", ".join(slot.label for slot in slots)
    return (
        f"{workers} workers for {len(slots)} device slot(s) ({names}; {slots[0].why}): each worker"
        f" owns one device and loads every model. Set GUNICORN_WORKERS={len(slots)}, or name more"
        " devices in DEVICE_SLOTS."
    )


def poisoned(library: str = "libcuda.so.1") -> str:
    """Why this process must not fork; empty when it may.

    Before cuInit every call of the driver answers CUDA_ERROR_NOT_INITIALIZED (3); any other answer
    means that something here has initialised CUDA. No library means no GPU, which is fine.
    """
    try:
        driver = ctypes.CDLL(library)
        code = driver.cuDeviceGetCount(ctypes.byref(ctypes.c_int()))
    except (OSError, AttributeError):
        return ""
    if code == _NOT_INITIALIZED:
        return ""
    found = [name for name in _SUSPECTS if name in sys.modules]
    return (
        f"CUDA is already initialised in the master (cuDeviceGetCount returned {code}, not"
        f" {_NOT_INITIALIZED}), so no worker could use the GPU: refused to fork. Imported here:"
        f" {', '.join(found) or 'none of the usual libraries'}. Nothing that gunicorn.conf.py or a"
        " plug-in of the master imports may touch CUDA."
    )
