"""The alert rules: they hold what they promise, and each is explained."""

from __future__ import annotations

import re
import subprocess

import pytest

from server import metrics
from tests.unit.prometheus import ROOT, promtool

FOLDER = ROOT / "deploy" / "prometheus"
RULES = (FOLDER / "alerts.yml").read_text(encoding="utf-8")
ALERTS = re.findall(r"^ +- alert: (\w+)$", RULES, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")],
    ids=" ".join,
)
def test_promtool_is_content(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [promtool(), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_to_fire_and_to_be_silent() -> None:
    tests = (FOLDER / "alerts_test.yml").read_text(encoding="utf-8")
    fires = re.findall(r"alertname: (\w+)\n +exp_alerts:\n", tests)
    silent = re.findall(r"alertname: (\w+), exp_alerts: \[\]", tests)
    assert len(ALERTS) > 10
    assert set(fires) == set(silent) == set(ALERTS)


def test_every_alert_is_explained_with_its_severity() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    section = text.split("\n## Alerts\n")[1].split("\n## ")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", section, re.MULTILINE))
    real = re.findall(r"alert: (\w+)\n(?:.*\n)*?.*severity: (\w+)", RULES)
    assert told == dict(real)


def test_the_rules_name_only_metrics_that_there_are() -> None:
    endings = ("_bucket", "_sum", "_count")
    there = set()
    for family in metrics.REGISTRY.collect():
        there |= {family.name, f"{family.name}_total", *(family.name + end for end in endings)}
    assert set(re.findall(r"mouthpiece_\w+", RULES)) - there == set()
