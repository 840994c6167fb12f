"""Probes and status: is the process alive, is it ready, what does it run on.

What it is not: a change of anything. The same routes answer on the main listener and, without a
key, on the ops listener, where a full request pool cannot silence them.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import cast

import structlog
from apiflask import APIBlueprint, APIFlask
from flask import Flask, Response, current_app

from server import metrics
from server.http import deep, errors
from server.http.document import answers, media, unwell
from server.http.service import Seats, Service, attach, service
from server.http.shapes import (
    ApiTest,
    GpuStatus,
    Health,
    Live,
    Ready,
    TorchMemory,
    WorkerHealth,
)
from server.jobs.database import StoreError
from server.jobs.files import JobFiles
from server.jobs.store import JobStore
from server.roster import Presence
from server.settings import Settings
from server.state import Phase, WorkerState
from server.texts import ON_DEMAND, READY, Texts

log = structlog.get_logger(__name__)

bp = APIBlueprint("probes", __name__, tag="Probes")
metrics_bp = APIBlueprint("metrics", __name__, tag="Metrics")
status_bp = APIBlueprint("status", __name__, tag="Status")

_GIB = 1024**3
# Workers say every second how they are; one that has been silent for so long takes no work.
_STUCK_S = 10.0


@bp.get("/health")
@bp.output(Health)
@bp.doc(responses=unwell("Health"))
def health() -> tuple[Health, int]:
    """How the worker is: 200 while it lives and may work, 503 when it has failed."""
    state = service().state
    body = Health(
        status=state.phase.value,
        model_loaded=_loaded(state),
        device=state.device.kind,
        device_name=state.device.name,
        reason=state.reason,
        models=dict(state.models),
        face_detector=state.detector,
        worker_pid=state.pid,
        uptime_s=round(time.time() - state.started_at, 3),
        workers=[_worker(one) for one in state.workers()],
    )
    return body, 503 if state.phase is Phase.FAILED else 200


def _worker(one: Presence) -> WorkerHealth:
    return WorkerHealth(
        pid=one.pid,
        slot=one.slot,
        status=one.status,
        device_name=one.device,
        reason=one.reason,
        age_s=round(one.age_s, 3),
    )


@bp.get("/v2/health/live")
@bp.output(Live)
def live() -> Live:
    """The process answers."""
    return Live(live=True)


@bp.get("/v2/health/ready")
@bp.output(Ready)
@bp.doc(responses=unwell("Ready"))
def ready() -> tuple[Ready, int]:
    """200 when new work is begun at once, by this worker or another one; else 503."""
    state = service().state
    good_ones = (one for one in state.workers() if one.status == Phase.READY.value)
    speaks = next((one for one in good_ones if one.age_s < _STUCK_S), state.present())
    good = speaks.status == Phase.READY.value
    body = Ready(ready=good, status=speaks.status, reason=speaks.reason)
    return body, 200 if good else 503


@metrics_bp.get("/metrics")
@metrics_bp.doc(responses=answers({200: media("Prometheus' text format.", "text/plain")}))
def show_metrics() -> Response:
    """Numbers for Prometheus."""
    here = service()
    metrics.STORE_UP.set(0)
    with suppress(OSError):  # without the disk, the rest is still told
        metrics.DISK_FREE_BYTES.set(here.files.free_bytes())
    try:
        counts = here.store.counts()
    except StoreError as error:
        log.warning("jobs_not_counted", error=str(error))
        metrics.JOBS.clear()
    else:
        for state, count in counts.items():
            metrics.JOBS.labels(state.value).set(count)
        metrics.STORE_UP.set(1)
    for served in here.texts.served():
        stats = served.engine.stats()
        metrics.TEXT_ACTIVE.labels(served.name).set(stats.active)
        metrics.TEXT_WAITING.labels(served.name).set(stats.waiting)
    worker = here.state
    text, content_type = metrics.render_all(worker.workers(), worker.pid)
    return Response(text, content_type=content_type)


@status_bp.get("/gpu/status")
@status_bp.output(GpuStatus)
def gpu_status() -> GpuStatus:
    """The device, its libraries and memory."""
    state = service().state
    device = state.device
    cuda = device.kind == "cuda"
    return GpuStatus(
        worker_pid=state.pid,
        models_initialized=_loaded(state),
        cuda_visible_devices=device.cuda_visible_devices,
        nvidia_visible_devices=device.nvidia_visible_devices,
        onnx_providers=list(device.onnx_providers),
        onnx_cuda_available="CUDAExecutionProvider" in device.onnx_providers,
        pytorch_cuda_available=cuda,
        pytorch_gpu_count=device.gpu_count,
        # One worker sees one device, so its number is always 0.
        pytorch_current_device=0 if cuda else None,
        pytorch_gpu_name=device.name if cuda else None,
        pytorch_memory=_memory(state),
        device=device.kind,
        why=device.why,
    )


@status_bp.get("/api/test")
@status_bp.output(ApiTest)
def api_test() -> ApiTest:
    """A sign that the API is reached, and what it offers."""
    rules = sorted({rule.rule for rule in current_app.url_map.iter_rules()})
    return ApiTest(message="Mouthpiece answers", phase=service().state.phase.value, endpoints=rules)


def _loaded(state: WorkerState) -> bool:
    return bool(state.models) and all(word in (READY, ON_DEMAND) for word in state.models.values())


def _memory(state: WorkerState) -> TorchMemory | None:
    device = state.device
    if device.memory_allocated_bytes is None or device.memory_reserved_bytes is None:
        return None
    return TorchMemory(
        allocated_gb=round(device.memory_allocated_bytes / _GIB, 3),
        reserved_gb=round(device.memory_reserved_bytes / _GIB, 3),
    )


def create_ops_app(
    settings: Settings, state: WorkerState, store: JobStore, texts: Texts | None = None
) -> Flask:
    """The app of the ops listener: probes and metrics, no key, nothing else."""
    app = APIFlask(
        "mouthpiece-ops", enable_openapi=False, static_folder=cast(str, None), json_errors=False
    )
    seats = Seats(settings.max_event_streams)
    files = JobFiles(settings.data_dir)
    here = Service(settings, state, store, files, seats, texts or Texts())
    attach(here, app.extensions)
    errors.register(app)
    for blueprint in (bp, deep.bp, metrics_bp):
        app.register_blueprint(blueprint)
    return app
