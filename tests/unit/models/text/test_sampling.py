"""The choice of tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.text.base import TextError
from models.text.request import TextRequest
from models.text.sampling import (
    Choice,
    Chooser,
    choose,
    choose_host,
    logprobs_of,
    nucleus,
    reaching,
    weights,
)

GOLDEN = Path(__file__).resolve().parents[5] / "shared" / "golden" / "nanogpt.npz"
ROWS = arrays(
    np.float32,
    st.integers(1, 400),
    elements=st.one_of(st.just(np.float32("-inf")), st.floats(-9, 9, width=16)),
).map(lambda row: np.append(row, np.float32(1.0)))


def chooser(**fields: Any) -> Chooser:
    return Chooser(TextRequest((1,), **fields))


def many(row: Any, count: int, **fields: Any) -> list[int]:
    """The choices of `count` seeds."""
    rows = np.tile(np.asarray(row, dtype=np.float32), (count, 1))
    choices = choose_host(rows, [chooser(seed=seed, **fields) for seed in range(count)])
    return [token_of(choice) for choice in choices]


def token_of(choice: Choice | TextError) -> int:
    assert isinstance(choice, Choice)
    return choice.token_id


def spread(size: int = 5000, seed: int = 3) -> Any:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32) * 3


@pytest.mark.skipif(not GOLDEN.is_file(), reason="../shared/golden is not here")
def test_probabilities_are_those_of_nanogpt_with_its_rule_for_ties() -> None:
    golden = np.load(GOLDEN)
    names = [name for name in golden.files if name.startswith("sampling_probs_t")]
    assert names
    row = golden["sampling_logits"].astype(np.float32)
    for name in names:
        temperature, top = name.removeprefix("sampling_probs_t").split("_top")
        ids = np.arange(row.size) if top in ("None", "0") else reaching(row, int(top))
        found = np.zeros(row.size)
        found[ids] = weights(row, ids, float(temperature))
        np.testing.assert_allclose(found, golden[name], atol=1e-6)


@given(ROWS, st.integers(1, 500))
@settings(deadline=None)
def test_top_k_keeps_what_reaches_the_kth_largest(row: Any, k: int) -> None:
    edge = np.sort(row)[::-1][min(k, row.size) - 1]
    assert reaching(row, k).tolist() == np.flatnonzero(row >= edge).tolist()


@given(ROWS, st.floats(0.01, 1.0), st.floats(0.05, 2.0))
@settings(deadline=None)
def test_top_p_keeps_the_fewest_that_reach_it(row: Any, top_p: float, temperature: float) -> None:
    share = weights(row, np.arange(row.size), temperature)
    kept = share[nucleus(share, top_p)]
    assert kept.sum() >= top_p - 1e-9
    assert kept.sum() - kept.min() < top_p + 1e-9
    assert kept.min() >= np.delete(share, nucleus(share, top_p)).max(initial=0.0)


@given(ROWS, st.sampled_from([None, 1, 3, 50]), st.sampled_from([0.3, 1.0]), st.integers())
@settings(deadline=None)
def test_a_masked_token_is_never_chosen(
    row: Any, top_k: int | None, top_p: float, seed: int
) -> None:
    picked = chooser(temperature=1.3, top_k=top_k, top_p=top_p, seed=seed)
    assert np.isfinite(row[token_of(choose_host(row[None], [picked])[0])])


@pytest.mark.parametrize("temperature", [0.0, 1e-9])
def test_temperature_zero_takes_the_likeliest(temperature: float) -> None:
    assert set(many([1.0, 5.0, 2.0], 20, temperature=temperature)) == {1}


@pytest.mark.parametrize(
    "fields", [{}, {"top_k": 4}, {"top_p": 0.999999}, {"top_k": 4, "top_p": 0.9999}]
)
def test_tokens_come_as_often_as_their_probability_says(fields: dict[str, Any]) -> None:
    row = np.log(np.array([0.4, 0.3, 0.2, 0.1]))
    counts = np.bincount(many(row, 4000, **fields), minlength=4) / 4000
    np.testing.assert_allclose(counts, [0.4, 0.3, 0.2, 0.1], atol=0.03)


def test_all_groups_of_a_long_row_are_drawn_from_as_often_as_they_should() -> None:
    row = np.full(1000, -20.0)
    row[[0, 63, 64, 999]] = np.log([0.1, 0.2, 0.3, 0.4])
    found = many(row, 4000)
    counts = [found.count(token_id) / 4000 for token_id in (0, 63, 64, 999)]
    np.testing.assert_allclose(counts, [0.1, 0.2, 0.3, 0.4], atol=0.03)


def test_a_flat_row_gives_top_p_more_tokens_than_it_looks_at_first() -> None:
    found = set(many(np.zeros(4000), 600, top_p=0.5))
    assert max(found) < 2000
    assert max(found) > 1800


def test_a_small_temperature_sharpens() -> None:
    row = [0.0, 1.0]
    assert many(row, 500, temperature=2.0).count(0) > many(row, 500, temperature=0.3).count(0)


@pytest.mark.parametrize("fields", [{}, {"top_k": 50}, {"top_p": 0.8}, {"logprobs": 2}])
def test_a_seed_gives_the_same_tokens_whatever_else_is_in_the_batch(fields: dict[str, Any]) -> None:
    row = spread()
    alone = chooser(seed=11, **fields)
    beside = chooser(seed=11, **fields)
    others = [chooser(seed=1, temperature=0.5), chooser(temperature=0.0)]
    for _ in range(20):
        single = choose_host(row[None], [alone])[0]
        batch = choose_host(np.stack([-row, row, row]), [others[0], beside, others[1]])[1]
        assert token_of(single) == token_of(batch)


def test_seeds_of_both_signs_differ() -> None:
    draws = {chooser(seed=seed).draw() for seed in (-3, 3, None)}
    assert len(draws) == 3


def test_penalties_push_down_what_was_said() -> None:
    picked = chooser(temperature=0.0, presence_penalty=1.0, frequency_penalty=0.5)
    row = np.array([[3.0, 2.0, 0.0]], dtype=np.float32)
    said = []
    for _ in range(5):
        token = token_of(choose_host(row, [picked])[0])
        picked.say(token)
        said.append(token)
    # 3 → 1.5 → 1.0 for the first, 2 → 0.5 for the second.
    assert said == [0, 1, 0, 0, 0]
    np.testing.assert_allclose(picked.adjust(row[0]), [3 - 1 - 0.5 * 4, 2 - 1 - 0.5, 0.0])
    assert row[0, 0] == 3.0


def test_bias_moves_a_logit_and_never_lifts_a_mask() -> None:
    row = np.array([[1.0, 0.0, -np.inf]], dtype=np.float32)
    picked = chooser(temperature=0.0, logit_bias={1: 2.0, 2: 100.0})
    assert token_of(choose_host(row, [picked])[0]) == 1


def test_logprobs_are_those_of_the_softmax_before_temperature_and_top_k() -> None:
    row = spread()
    picked = chooser(temperature=0.2, top_k=1, logprobs=3)
    choice = choose_host(row[None], [picked])[0]
    assert isinstance(choice, Choice)
    truth = torch.log_softmax(torch.from_numpy(row).double(), 0)
    best = truth.topk(3)
    assert [token_id for token_id, _ in choice.top] == best.indices.tolist()
    np.testing.assert_allclose([value for _, value in choice.top], best.values, atol=1e-5)
    assert choice.logprob == pytest.approx(float(best.values[0]), abs=1e-5)


def test_the_logprob_of_a_masked_token_is_a_number() -> None:
    row = np.array([0.0, -np.inf], dtype=np.float32)
    assert logprobs_of(row, 1, 0) == (-9999.0, ())
    assert logprobs_of(row, 0, 2)[1] == ((0, 0.0), (1, -9999.0))


@pytest.mark.parametrize("fields", [{"temperature": 0.0}, {}, {"top_k": 5}])
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_row_without_numbers_is_an_error_of_that_row_alone(
    fields: dict[str, Any], wrong: float
) -> None:
    rows = np.stack([spread(), spread(), spread()])
    rows[1, 7] = wrong
    first, second, third = choose_host(rows, [chooser(**fields) for _ in range(3)])
    assert isinstance(first, Choice)
    assert isinstance(second, TextError)
    assert isinstance(third, Choice)


class OnDevice:
    """A tensor that says it lies on a device, and keeps what was asked of it."""

    def __init__(self, rows: Any) -> None:
        self._rows = torch.from_numpy(rows)
        self.device = torch.device("cuda")
        self.shape = self._rows.shape
        self.fetched: list[int] = []

    def topk(self, count: int, dim: int) -> Any:
        self.fetched.append(count)
        return self._rows.topk(count, dim=dim)

    def max(self, dim: int, keepdim: bool) -> Any:
        self.fetched.append(1)
        return self._rows.max(dim=dim, keepdim=keepdim)

    def numpy(self, *, force: bool) -> Any:
        self.fetched.append(self.shape[1])
        return self._rows.numpy(force=force)


DEVICE_CASES = [
    ([{"temperature": 0.0}, {"temperature": 0.0}], 1),
    ([{"top_k": 40}, {"temperature": 0.0}], 104),
    ([{"top_k": 40, "top_p": 0.7}, {"top_k": 7}], 104),
    ([{}, {"temperature": 0.0}], 5000),
    ([{"top_k": 40}, {"logprobs": 1}], 5000),
]


@pytest.mark.parametrize(("cases", "fetched"), DEVICE_CASES)
def test_only_what_counts_is_fetched_from_a_device_and_the_choice_is_the_same(
    cases: list[dict[str, Any]], fetched: int
) -> None:
    rows = np.stack([spread(seed=1), spread(seed=2)])
    for seed in range(20):
        device = OnDevice(rows)
        there = choose(device, [chooser(seed=seed, **case) for case in cases])
        here = choose(torch.from_numpy(rows), [chooser(seed=seed, **case) for case in cases])
        assert list(map(token_of, there)) == list(map(token_of, here))
        assert set(device.fetched) == {fetched}


def test_a_row_without_numbers_on_a_device_is_an_error() -> None:
    rows = np.stack([spread(), spread()])
    rows[0, 3] = np.nan
    first, second = choose(OnDevice(rows), [chooser(top_k=3), chooser(top_k=3)])
    assert isinstance(first, TextError)
    assert isinstance(second, Choice)
