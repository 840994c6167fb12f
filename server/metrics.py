"""Metrics of one worker, or of all, in Prometheus' text format.

What it is not: a place that measures. Each part sets its own numbers here; names begin with
`mouthpiece_`.
"""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from server.roster import Presence, merged

REGISTRY = CollectorRegistry()
# What every worker tells alike.
_SHARED = frozenset({"mouthpiece_jobs", "mouthpiece_worker_restarts"})

_PREFIX = "mouthpiece"
_WAITS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_JOB_WAITS_S = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600)
_BATCHES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 128)
_FILLS = (0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def _counter(name: str, text: str, *labels: str) -> Counter:
    return Counter(name, text, labels, namespace=_PREFIX, registry=REGISTRY)


def _gauge(name: str, text: str, *labels: str) -> Gauge:
    return Gauge(name, text, labels, namespace=_PREFIX, registry=REGISTRY)


def _histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
    return Histogram(name, text, labels, namespace=_PREFIX, registry=REGISTRY, buckets=buckets)


REQUESTS = _counter("requests", "HTTP requests answered.", "method", "route", "status")
REQUEST_SECONDS = _histogram("request_seconds", "Time to answer a request.", _WAITS_S, "route")

JOBS = _gauge("jobs", "Jobs in the store, by state.", "state")
JOBS_FINISHED = _counter("jobs_finished", "Jobs that this worker ended, by final state.", "state")
JOB_WAIT_SECONDS = _histogram("job_wait_seconds", "Time a job was queued.", _JOB_WAITS_S)
STAGE_SECONDS = _counter("stage_seconds", "Busy seconds of the pipeline, by part.", "stage")
FRAMES = _counter("frames", "Frames rendered into results.")
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
WORKER_RESTARTS = _gauge("worker_restarts", "Workers started after the first one.")
DEVICE_MEMORY_BYTES = _gauge("device_memory_bytes", "Memory of torch on the device.", "kind")


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
