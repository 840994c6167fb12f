"""Metrics of one worker, or of all, in Prometheus' text format.

What it is not: a place that measures. Each part sets its own numbers here; names begin with
`mouthpiece_`. docs/metrics.md explains every one of them, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from server.nvml import Reading
from server.roster import Presence, merged

# A second series beside each counter, with the time of its birth: Prometheus does not use it.
disable_created_metrics()  # type: ignore[no-untyped-call]

REGISTRY = CollectorRegistry()
# What every worker tells alike: of the store, the host and the server, not of itself.
_SHARED = frozenset(
    f"mouthpiece_{name}"
    for name in (
        "jobs",
        "store_up",
        "disk_free_bytes",
        "memory_available_bytes",
        "worker_restarts_total",
    )
)

_PREFIX = "mouthpiece"
# Every bucket is a series for each value of the labels: as few as answer the question.
_ANSWERS_S = (0.005, 0.025, 0.1, 0.5, 2.5, 10)
_WAITS_S = (0.001, 0.005, 0.02, 0.1, 0.5, 2.5, 10)
_JOB_TIMES_S = (0.5, 1, 2, 5, 15, 60, 300, 900, 3600)
_BATCHES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 128)
_FILLS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
# A client may send any word as its method; each would be a series of its own.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, namespace=_PREFIX, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, namespace=_PREFIX, registry=REGISTRY)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(name, text, labels, namespace=_PREFIX, registry=REGISTRY, buckets=buckets)


_REQUEST = ("method", "route", "status")
REQUESTS = _counter("requests", "HTTP requests answered by the main listener.", *_REQUEST)
REQUEST_SECONDS = _histogram(
    "request_seconds",
    "Time to answer a request; of a stream, to its beginning.",
    _ANSWERS_S,
    *_REQUEST,
)

JOBS = _gauge("jobs", "Jobs in the store, by state.", "state")
STORE_UP = _gauge("store_up", "1 when the job store answered this scrape.")
JOBS_FINISHED = _counter("jobs_finished", "Jobs that this worker ended, by final state.", "state")
JOB_FAILURES = _counter("job_failures", "Jobs that this worker failed, by the code told.", "code")
JOB_WAIT_SECONDS = _histogram("job_wait_seconds", "Time a job was queued.", _JOB_TIMES_S)
JOB_FIRST_SEGMENT_SECONDS = _histogram(
    "job_first_segment_seconds",
    "Time from a job's making to its first segment on disk: from then on it can be played.",
    _JOB_TIMES_S,
)
JOB_SECONDS = _histogram(
    "job_seconds", "Time from a job's making to its finished file.", _JOB_TIMES_S
)
STAGE_SECONDS = _counter("stage_seconds", "Busy seconds of the pipeline, by part.", "stage")
FRAMES = _counter("frames", "Frames written into segments.")
FRAMES_RESTED = _counter("frames_rested", "Frames of silence that needed no network.")

BATCH_SIZE = _histogram("batch_size", "Items per batch on the lane.", _BATCHES, "engine")
BATCH_FILL = _histogram("batch_fill", "Batch size over the largest allowed.", _FILLS, "engine")
LANE_WAIT_SECONDS = _histogram("lane_wait_seconds", "Wait for the lane.", _WAITS_S, "engine")
LANE_BUSY_SECONDS = _counter("lane_busy_seconds", "Time the lane worked.", "engine")
MIXED_BATCHES = _counter("mixed_batches", "Batches of more than one caller.", "engine")
OOMS = _counter("ooms", "Out-of-memory errors caught on the lane.", "engine")

TEXTS = _counter("texts", "Texts by outcome: stop, length, cancelled, error, …", "model", "outcome")
TEXT_TOKENS = _counter("text_tokens", "Tokens written.", "model")
TEXT_FIRST_TOKEN_SECONDS = _histogram(
    "text_first_token_seconds",
    "Time from a request to its first streamed token.",
    _WAITS_S,
    "model",
)
TEXT_ACTIVE = _gauge("text_active", "Texts being written.", "model")
TEXT_WAITING = _gauge("text_waiting", "Texts that wait for a slot.", "model")

PHASE = _gauge("phase", "1 for the phase the worker is in.", "phase")
RSS_BYTES = _gauge("rss_bytes", "Resident memory of the worker.")
WORKER_RESTARTS = _counter("worker_restarts", "Workers started beyond the server's first set.")
MEMORY_AVAILABLE_BYTES = _gauge(
    "memory_available_bytes", "Memory of the host that can be taken without swapping."
)
DISK_FREE_BYTES = _gauge("disk_free_bytes", "Free space on the disk of DATA_DIR.")

DEVICE_MEMORY_BYTES = _gauge("device_memory_bytes", "Memory of torch on the device.", "kind")
GPU_MEMORY_USED_BYTES = _gauge(
    "gpu_memory_used_bytes", "Memory in use on the GPU, by all processes.", "gpu"
)
GPU_MEMORY_TOTAL_BYTES = _gauge("gpu_memory_total_bytes", "Memory of the GPU.", "gpu")
GPU_UTILIZATION_RATIO = _gauge(
    "gpu_utilization_ratio", "Share of the last second in which a kernel ran on the GPU.", "gpu"
)
GPU_TEMPERATURE_CELSIUS = _gauge("gpu_temperature_celsius", "Temperature of the GPU.", "gpu")


def count_request(method: str, route: str, status: int, seconds: float | None) -> None:
    """One request that was answered.

    Args:
        method: as the client sent it; unknown ones count as "other".
        route: the route's template ("/v1/videos/<video_id>"), never the path.
        status: of the answer.
        seconds: until the answer began; None when that is not known.
    """
    labels = (method if method in _METHODS else "other", route, str(status))
    REQUESTS.labels(*labels).inc()
    if seconds is not None:
        REQUEST_SECONDS.labels(*labels).observe(seconds)


def set_gpu(gpu: str, reading: Reading | None) -> None:
    """Figures of the GPU `gpu`; what it does not tell is not there, rather than old."""
    figures = reading or Reading()
    for gauge, figure in (
        (GPU_MEMORY_USED_BYTES, figures.used_bytes),
        (GPU_MEMORY_TOTAL_BYTES, figures.total_bytes),
        (GPU_UTILIZATION_RATIO, figures.utilization),
        (GPU_TEMPERATURE_CELSIUS, figures.temperature_c),
    ):
        if figure is None:
            gauge.clear()
        else:
            gauge.labels(gpu).set(figure)


def render() -> tuple[bytes, str]:
    """All metrics as text, and its content type."""
    return generate_latest(REGISTRY), CONTENT_TYPE_LATEST


def render_all(workers: Sequence[Presence], pid: int) -> tuple[bytes, str]:
    """The metrics of process `pid`, which is this one, and of the other workers as they last told
    them; with more than one worker every sample has a label `slot`.
    """
    own, kind = render()
    mine = next((one.slot for one in workers if one.pid == pid), 0)
    # While a server reloads, two workers share a slot for a moment: the new one waits.
    others = {one.slot: one.metrics for one in reversed(workers) if one.pid != pid}
    others.pop(mine, None)
    told = {slot: text for slot, text in others.items() if text}
    if not told:
        return own, kind
    return merged([(mine, own.decode()), *sorted(told.items())], _SHARED).encode(), kind
