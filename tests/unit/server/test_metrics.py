"""Metrics are Prometheus text with one prefix."""

from __future__ import annotations

import subprocess

from prometheus_client.parser import text_string_to_metric_families

from server import metrics
from server.roster import Presence
from tests.unit.prometheus import promtool


def test_what_is_rendered_is_prometheus_text_with_our_prefix() -> None:
    metrics.OOMS.labels("viseme").inc()
    text, content_type = metrics.render()
    families = list(text_string_to_metric_families(text.decode()))
    assert content_type.startswith("text/plain")
    assert families
    assert all(family.name.startswith("mouthpiece_") for family in families)
    assert all(family.documentation for family in families)


def requests_of(method: str) -> float:
    labels = {"method": method, "route": "/x", "status": "405"}
    return metrics.REGISTRY.get_sample_value("mouthpiece_requests_total", labels) or 0.0


def test_methods_that_a_client_made_up_share_one_series() -> None:
    other, get = requests_of("other"), requests_of("GET")
    for method in ("BREW", "WHEN", "GET"):
        metrics.count_request(method, "/x", 405, None)
    assert (requests_of("other"), requests_of("GET")) == (other + 2, get + 1)
    assert "BREW" not in metrics.render()[0].decode()


def test_a_request_s_time_is_observed_where_it_is_known() -> None:
    labels = {"method": "GET", "route": "/y", "status": "200"}
    metrics.count_request("GET", "/y", 200, 0.25)
    metrics.count_request("GET", "/y", 200, None)
    read = metrics.REGISTRY.get_sample_value
    assert read("mouthpiece_requests_total", labels) == 2
    assert read("mouthpiece_request_seconds_count", labels) == 1
    assert read("mouthpiece_request_seconds_sum", labels) == 0.25


def test_no_series_is_spent_on_times_of_birth() -> None:
    metrics.OOMS.labels("viseme").inc()
    assert "_created" not in metrics.render()[0].decode()


def test_what_workers_tell_alike_is_told_once() -> None:
    metrics.STORE_UP.set(1)
    mine = Presence(1, 0, "ready", "", "cpu", 1.0, 0.0)
    text = metrics.render()[0].decode()
    merged = metrics.render_all([mine, Presence(2, 1, "ready", "", "cpu", 1.0, 0.0, text)], 1)[0]
    lines = merged.decode().splitlines()
    for name in ("store_up", "disk_free_bytes", "memory_available_bytes", "worker_restarts_total"):
        [line] = [line for line in lines if line.startswith(f"mouthpiece_{name}")]
        assert "slot" not in line
    assert len([line for line in lines if line.startswith("mouthpiece_rss_bytes{")]) == 2


def test_several_workers_metrics_keep_prometheus_conventions() -> None:
    metrics.count_request("GET", "/z", 200, 0.1)
    metrics.OOMS.labels("viseme").inc()
    text = metrics.render()[0].decode()
    workers = [Presence(pid, pid, "ready", "", "cpu", 1.0, 0.0, text) for pid in (1, 2, 3)]
    merged = metrics.render_all(workers, 1)[0]
    assert merged.count(b'mouthpiece_ooms_total{slot="') >= 3
    done = subprocess.run(
        [promtool(), "check", "metrics"], input=merged, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
