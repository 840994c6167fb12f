"""Metrics are Prometheus text with one prefix."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from server import metrics


def test_what_is_rendered_is_prometheus_text_with_our_prefix() -> None:
    metrics.OOMS.labels("viseme").inc()
    text, content_type = metrics.render()
    families = list(text_string_to_metric_families(text.decode()))
    assert content_type.startswith("text/plain")
    assert families
    assert all(family.name.startswith("mouthpiece_") for family in families)
    assert all(family.documentation for family in families)
