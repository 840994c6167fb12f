"""GPU_CONFIG and its companions: what they come to, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest

from server.gpuconfig import GpuPlan, batch_for, plan_gpus
from server.settings import Settings, SettingsError, load_settings
from server.slots import Slot

GIB = 1024**3


def slots(count: int) -> tuple[Slot, ...]:
    return tuple(Slot(index, str(index), "found") for index in range(count))


def plan(count: int, **settings: Any) -> GpuPlan:
    return plan_gpus(load_settings(**settings), slots(count))


def batch(made: GpuPlan, memory_gib: float | None = None, **settings: Any) -> int:
    memory = None if memory_gib is None else int(memory_gib * GIB)
    return made.settled(load_settings(**settings), memory).batch_size_per_gpu


@pytest.mark.parametrize(
    ("name", "count", "workers", "size", "fraction"),
    [
        ("auto", 4, 1, 16, None),
        ("single_gpu", 4, 1, 16, None),
        ("multi_gpu", 3, 3, 16, None),
        ("single_4090d_48gb", 2, 1, 20, 0.95),
        ("quad_4090_24gb", 8, 4, 8, 0.90),
    ],
)
def test_every_configuration_has_its_workers_batch_and_memory(
    name: str, count: int, workers: int, size: int, fraction: float | None
) -> None:
    made = plan(count, gpu_config=name)
    assert (made.workers, batch(made), made.memory_fraction) == (workers, size, fraction)
    assert made.settled(load_settings(), None).gunicorn_workers == workers
    assert len(made.slots) == (count if name in ("auto", "multi_gpu") else workers)


@pytest.mark.parametrize(
    ("gib", "size"), [(80, 16), (39.5, 16), (23.6, 8), (15.7, 4), (11.8, 3), (8, 2)]
)
def test_custom_takes_its_batch_from_the_memory_of_the_device(gib: float, size: int) -> None:
    assert batch_for(int(gib * GIB)) == size
    assert batch(plan(1, gpu_config="custom"), gib) == size
    assert batch(plan(1, gpu_config="auto"), gib) == 16


def test_custom_on_a_cpu_keeps_the_common_batch() -> None:
    assert batch(plan(1, gpu_config="custom")) == 16


def test_settings_that_are_given_win_over_the_configuration() -> None:
    made = plan(
        4,
        gpu_config="quad_4090_24gb",
        gunicorn_workers=2,
        batch_size_per_gpu=5,
        gpu_memory_fraction=0.5,
        enable_amp=False,
        enable_cudnn_benchmark=False,
    )
    assert (made.workers, made.batch, made.memory_fraction) == (2, 5, 0.5)
    assert (made.amp, made.cudnn_benchmark) == (False, False)
    assert batch(plan(1, gpu_config="custom", batch_size_per_gpu=7), 80) == 7


def test_a_total_batch_is_shared_out_among_the_workers() -> None:
    assert plan(4, gpu_config="multi_gpu", total_batch_size=32).batch == 8
    assert plan(4, gunicorn_workers=2, total_batch_size=32, batch_size_per_gpu=16).batch == 16


@pytest.mark.parametrize(
    ("count", "settings", "words"),
    [
        (2, {"gpu_config": "quad_4090_24gb"}, ["quad_4090_24gb takes 4", "only 2 (0, 1; found)"]),
        (4, {"gpu_config": "single_gpu", "gunicorn_workers": 2}, ["GUNICORN_WORKERS=2", "1 to 1"]),
        (3, {"gpu_config": "multi_gpu", "total_batch_size": 16}, ["TOTAL_BATCH_SIZE=16", "3"]),
        (
            2,
            {"gunicorn_workers": 2, "total_batch_size": 16, "batch_size_per_gpu": 4},
            ["TOTAL_BATCH_SIZE=16", "BATCH_SIZE_PER_GPU=4 times 2", "is 8"],
        ),
    ],
)
def test_what_cannot_hold_together_is_refused_with_names_values_and_what_is_allowed(
    count: int, settings: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(SettingsError) as refused:
        plan(count, **settings)
    assert all(word in str(refused.value) for word in words), refused.value


@pytest.mark.parametrize(
    ("name", "value"),
    [("gpu_config", "octo"), ("gpu_memory_fraction", 1.5), ("total_batch_size", 0)],
)
def test_values_that_make_no_sense_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(SettingsError, match=name.upper()):
        load_settings(**{name: value})


def test_a_plan_without_anything_said_changes_no_batch() -> None:
    settings: Settings = load_settings(batch_size_per_gpu=3)
    assert GpuPlan().settled(settings, 80 * GIB).batch_size_per_gpu == 3
