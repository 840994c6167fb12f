"""The benchmark of GPU configurations, on CPU slots: real model calls, every field reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.fleet import Strategy
from scripts.benchmark_gpu import main, summary_of

LATENCY = ("mean", "median", "std", "min", "max", "p50", "p95", "p99")


@pytest.fixture(autouse=True)
def _on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVICE", "cpu")


def test_two_slots_are_measured_with_every_field_of_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEVICE_SLOTS", "0,1")
    monkeypatch.setenv("BATCH_SIZE_PER_GPU", "4")
    path = tmp_path / "report.json"
    assert main(["--config", "multi_gpu", "--quick", "--json", str(path)]) == 0
    report = json.loads(path.read_text())
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == report
    assert (report["configuration"], report["model"]) == ("multi_gpu", "viseme")
    latency = report["latency"]
    assert latency["batch_size"] == 4
    assert 0 < latency["min_ms"] <= latency["p50_ms"] <= latency["p99_ms"] <= latency["max_ms"]
    assert {f"{name}_ms" for name in LATENCY} <= latency.keys()
    assert list(report["throughput"]) == ["1", "2", "4"]
    assert all(found["frames_per_s"] > 0 for found in report["throughput"].values())
    assert report["parallel"]["devices"] == 2
    for strategy in Strategy:
        assert 0 < report["parallel"][strategy.value]["efficiency"] < 2
    assert report["memory"]["rss_bytes"] > 50 * 1024**2
    assert report["summary"]["best_strategy"] in list(Strategy)
    assert report["system"]["cores"] >= 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "quad_4090_24gb"], "takes 4 devices and there is only 1 (cpu; DEVICE=cpu)"),
        (["--model", "wav2lop"], "wav2lop"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--quick"]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said


def test_percentiles_lie_between_their_neighbours() -> None:
    figures = summary_of([4.0, 1.0, 2.0, 3.0, 5.0])
    assert figures == {
        "mean_ms": 3.0,
        "median_ms": 3.0,
        "std_ms": 1.414,
        "min_ms": 1.0,
        "max_ms": 5.0,
        "p50_ms": 3.0,
        "p95_ms": 4.8,
        "p99_ms": 4.96,
    }
