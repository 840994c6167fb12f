"""Loading text models: eager ones in the boot, others on demand, failures kept apart."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import structlog

from models.lane import Lane
from models.text.base import Precision, TextError
from models.text.request import TextRequest
from runtime.interpreter import SWITCH_S
from server.settings import TextDtype, load_settings
from server.textload import (
    TextBench,
    TextLoader,
    ThreadedEngine,
    open_text,
    precision_of,
    threads_for,
    too_few_threads,
)
from server.texts import Served, Source, Texts
from tests.integration.checkpoints import make_run
from tests.unit.models.lanes import FakeEngine
from tests.unit.server.http.writers import ScriptedEngine, served


def opener(source: Source, bench: TextBench) -> Served:
    """Opens everything but "cut" and "broken"."""
    if source.name == "cut":
        raise TextError("cut.pt is cut off")
    if source.name == "broken":
        raise RuntimeError("a fault")
    return served(source.name, ScriptedEngine())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[TextBench]:
    lane = Lane([])
    lane.start()
    yield TextBench(load_settings(data_dir=tmp_path), "cpu", lane)
    lane.stop()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "GUNICORN_THREADS=8 is less than TEXT_SLOTS=16.*GUNICORN_THREADS=24 lets"),
        ({"gunicorn_threads": 16}, "^$"),
        ({"text_slots": 8}, "^$"),
        ({"gunicorn_worker_class": "gevent"}, "^$"),
    ],
)
def test_too_few_request_threads_for_the_slots_are_told_of(
    settings: dict[str, object], words: str
) -> None:
    assert re.search(words, too_few_threads(load_settings(**settings)))


@pytest.mark.parametrize(("eager", "warned"), [(True, 1), (False, 0)])
def test_only_who_configured_a_text_model_is_told(
    bench: TextBench, tmp_path: Path, eager: bool, warned: int
) -> None:
    loader = TextLoader(Texts([Source("good", tmp_path, eager=eager)]), bench, opener)
    with structlog.testing.capture_logs() as logs:
        loader.load_eager(lambda step: None)
    assert [log["log_level"] for log in logs if "request threads" in log["event"]] == [
        "warning"
    ] * warned


def test_one_that_fails_harms_no_other(bench: TextBench, tmp_path: Path) -> None:
    names = ["good", "cut", "broken"]
    texts = Texts([Source(name, tmp_path) for name in names])
    steps: list[str] = []
    TextLoader(texts, bench, opener).load_eager(steps.append)
    assert steps == [f"loading text model {name}" for name in names]
    assert texts.statuses() == {
        "good": "ready",
        "cut": "failed: cut.pt is cut off",
        "broken": "failed: RuntimeError: a fault",
    }


def test_one_on_demand_is_loaded_when_asked_for_and_not_before(
    bench: TextBench, tmp_path: Path
) -> None:
    texts = Texts([Source("a", tmp_path, eager=False)])
    loader = TextLoader(texts, bench, opener)
    loader.load_eager(lambda text: None)
    loader.start()
    assert texts.statuses() == {"a": "on demand"}
    with pytest.raises(RuntimeError, match="being loaded"):
        texts.find("a")
    until = time.monotonic() + 5
    while texts.statuses() != {"a": "ready"}:
        assert time.monotonic() < until
        time.sleep(0.01)
    texts.stop(1)


def test_a_checkpoint_becomes_an_engine_on_the_lane(bench: TextBench, tmp_path: Path) -> None:
    sys.setswitchinterval(0.005)
    opened = open_text(Source("tiny", make_run(tmp_path / "run", layers=1, width=16)), bench)
    assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
    assert (opened.name, opened.model.network.slots) == ("tiny", bench.settings.text_slots)
    pieces = list(opened.engine.generate(TextRequest(prompt_ids=(1, 2), max_tokens=5)))
    assert pieces[-1].tokens == 5
    assert bench.lane.stats()["text:tiny"].items >= 5
    opened.engine.stop(1)


def test_a_checkpoint_that_is_not_there_is_named(bench: TextBench, tmp_path: Path) -> None:
    path = tmp_path / "gone.pt"
    with pytest.raises(TextError, match=f"{path} does not exist"):
        open_text(Source("a", path), bench)


@pytest.mark.parametrize(
    ("setting", "busy", "parameters", "threads"),
    [
        (0, False, 1_000_000, 1),
        (0, True, 124_000_000, 1),
        (0, False, 124_000_000, len(os.sched_getaffinity(0))),
        (3, True, 1_000_000, 3),
    ],
)
def test_only_a_large_model_uses_more_cores_and_only_while_no_job_runs(
    bench: TextBench, setting: int, busy: bool, parameters: int, threads: int
) -> None:
    settings = bench.settings.model_copy(update={"text_threads": setting})
    here = replace(bench, settings=settings, busy=lambda: busy)
    assert threads_for(here, parameters) == threads


def test_each_step_runs_with_the_threads_of_its_own_model() -> None:
    import torch

    before = torch.get_num_threads()
    seen: list[int] = []

    def run(items: Sequence[int]) -> list[int]:
        seen.append(torch.get_num_threads())
        return list(items)

    inner = FakeEngine("text")
    inner.run = run  # type: ignore[method-assign]
    one, two = ThreadedEngine(inner, lambda: 1), ThreadedEngine(inner, lambda: 2)
    assert (one.name, one.priority, one.max_batch) == ("text", inner.priority, inner.max_batch)
    for engine in (one, two, one, two):
        assert engine.run([5]) == [5]
    assert seen == [1, 2, 1, 2]
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("dtype", "device", "precision"),
    [
        (TextDtype.AUTO, "cpu", Precision.FP32),
        (TextDtype.AUTO, "cuda", Precision.BF16),
        (TextDtype.INT8, "cpu", Precision.INT8),
        (TextDtype.FP32, "cuda", Precision.FP32),
    ],
)
def test_auto_is_exact_on_a_cpu_and_fast_on_a_gpu(
    dtype: TextDtype, device: str, precision: Precision
) -> None:
    assert precision_of(dtype, device) is precision
