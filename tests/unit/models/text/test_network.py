"""The network over its cache, against a plain GPT written here without one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.text.base import Gelu, GptConfig, Part, Precision, TextError
from models.text.network import GptNetwork, check_config, make_network, shapes

SMALL = GptConfig(n_layer=2, n_head=4, n_embd=32, block_size=24, vocab_size=60)
LIMIT = 57
IDS = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4]
CLOSE = 2e-5


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads cost more than they give on such small sizes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_state(config: GptConfig, seed: int = 0) -> dict[str, Tensor]:
    source = torch.Generator().manual_seed(seed)
    state = {
        key: torch.randn(shape, generator=source) * 0.2 for key, shape in shapes(config).items()
    }
    for key in state:
        if "ln_" in key and key.endswith("weight"):
            state[key] += 1
    return state


def network(
    config: GptConfig = SMALL, precision: Precision = Precision.FP32, slots: int = 4
) -> GptNetwork:
    return make_network(config, random_state(config), slots, precision, vocab_limit=LIMIT)


def plain(config: GptConfig, state: dict[str, Tensor], ids: list[int]) -> Tensor:
    """Logits [len(ids), vocab], straight from the definition, every position at once."""

    def norm(x: Tensor, name: str) -> Tensor:
        away = x - x.mean(-1, keepdim=True)
        y = away / (away.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * state[f"{name}.weight"]
        return y + state.get(f"{name}.bias", torch.zeros(()))

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ state[f"{name}.weight"].T + state.get(f"{name}.bias", torch.zeros(()))

    size = config.n_embd // config.n_head
    ahead = torch.ones(len(ids), len(ids)).triu(1).bool()
    x = state["wte.weight"][ids] + state["wpe.weight"][: len(ids)]
    for number in range(config.n_layer):
        name = f"h.{number}"
        parts = linear(norm(x, f"{name}.ln_1"), f"{name}.attn.c_attn").chunk(3, 1)
        q, k, v = (part.view(len(ids), config.n_head, size).transpose(0, 1) for part in parts)
        scores = (q @ k.transpose(1, 2) / size**0.5).masked_fill(ahead, float("-inf"))
        y = (scores.softmax(-1) @ v).transpose(0, 1).reshape(len(ids), -1)
        x = x + linear(y, f"{name}.attn.c_proj")
        y = linear(norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc")
        y = functional.gelu(y, approximate="tanh" if config.gelu is Gelu.TANH else "none")
        x = x + linear(y, f"{name}.mlp.c_proj")
    head = state.get("lm_head.weight", state["wte.weight"])
    return norm(x, "ln_f") @ head.T


def known(logits: Tensor) -> Tensor:
    return logits[..., :LIMIT]


@pytest.mark.parametrize("gelu", list(Gelu))
@pytest.mark.parametrize("bias", [True, False])
def test_every_position_equals_the_plain_network(gelu: Gelu, bias: bool) -> None:
    config = GptConfig(2, 4, 32, 24, 60, bias, gelu)
    logits = network(config).prefill(0, IDS, 0, every=True)
    expected = plain(config, random_state(config), IDS)
    assert torch.allclose(known(logits), known(expected), atol=CLOSE)


def test_an_untied_head_is_used() -> None:
    state = random_state(SMALL)
    state["lm_head.weight"] = torch.randn(60, 32)
    logits = make_network(SMALL, state, 1, Precision.FP32).prefill(0, IDS, 0)
    assert torch.allclose(logits, plain(SMALL, state, IDS)[-1], atol=1e-4)


def test_ids_beyond_the_tokenizer_are_never_likely() -> None:
    net = network()
    for logits in (net.prefill(0, IDS[:4], 0), net.decode([0, 1], [1, 2], [4, 0])[0]):
        assert torch.isneginf(logits[LIMIT:]).all()
        assert torch.isfinite(known(logits)).all()


@pytest.mark.parametrize("cuts", [[24], [1, 23], [7, 9, 8], [12, 1, 11]])
def test_chunks_give_what_the_whole_gives(cuts: list[int]) -> None:
    net = network()
    done = 0
    for cut in cuts:
        logits = net.prefill(2, IDS[done : done + cut], done)
        done += cut
    expected = plain(SMALL, random_state(SMALL), IDS)[-1]
    assert torch.allclose(known(logits), known(expected), atol=CLOSE)


@pytest.mark.parametrize("precision", list(Precision))
def test_prompts_read_together_give_what_each_gives_alone(precision: Precision) -> None:
    alone, together = network(precision=precision), network(precision=precision)
    for net in (alone, together):
        net.prefill(1, IDS[:6], 0)
    parts = [Part(3, IDS[2:9], 0), Part(1, IDS[6:10], 6, every=True), Part(0, IDS[4:5], 0)]
    expected = [alone.prefill(p.slot, p.ids, p.start, every=p.every) for p in parts]
    for one, other in zip(expected, together.prefill_all(parts), strict=True):
        assert one.shape == other.shape
        assert torch.allclose(known(one), known(other), atol=1e-4)
    one = alone.decode([0, 1, 3], [7, 8, 9], [1, 10, 7])
    other = together.decode([0, 1, 3], [7, 8, 9], [1, 10, 7])
    assert torch.allclose(known(one), known(other), atol=1e-4)


@pytest.mark.parametrize(
    ("slots", "lengths"),
    [
        ([0, 1, 2, 3], [5, 5, 5, 5]),
        ([0, 1, 2, 3], [9, 10, 11, 12]),
        ([3, 0, 2], [20, 1, 7]),
        ([1, 3], [6, 6]),
        ([0, 1, 2, 3], [23, 1, 2, 1]),
    ],
)
def test_a_batch_gives_each_stream_what_it_gets_alone(slots: list[int], lengths: list[int]) -> None:
    net, state = network(), random_state(SMALL)
    texts = [[(7 * slot + n * n) % LIMIT for n in range(24)] for slot in slots]
    for slot, text, length in zip(slots, texts, lengths, strict=True):
        net.prefill(slot, text[:length], 0)
    for _ in range(2):
        again = [min(length, 23) for length in lengths]
        ids = [text[place] for text, place in zip(texts, again, strict=True)]
        logits = net.decode(slots, ids, again)
        for row, (text, place) in enumerate(zip(texts, again, strict=True)):
            expected = plain(SMALL, state, text[: place + 1])[-1]
            assert torch.allclose(known(logits[row]), known(expected), atol=CLOSE)
        lengths = [length + 1 for length in again]


def test_a_position_written_again_is_replaced() -> None:
    net = network()
    net.prefill(0, IDS[:6], 0)
    net.decode([0], [50], [6])
    logits = net.decode([0], [IDS[6]], [6])[0]
    expected = plain(SMALL, random_state(SMALL), IDS[:7])[-1]
    assert torch.allclose(known(logits), known(expected), atol=CLOSE)


@pytest.mark.parametrize(
    ("precision", "far"), [(Precision.FP32, CLOSE), (Precision.BF16, 0.1), (Precision.INT8, 0.2)]
)
def test_precisions_stay_near_and_rows_stay_apart(precision: Precision, far: float) -> None:
    net = network(precision=precision)
    assert net.precision is precision
    for slot in range(3):
        net.prefill(slot, IDS[:8], 0)
    alone = net.decode([1], [9], [8])[0]
    together = net.decode([0, 1, 2], [44, 9, 17], [8, 8, 8])[1]
    expected = plain(SMALL, random_state(SMALL), [*IDS[:8], 9])[-1]
    assert torch.allclose(known(alone), known(expected), atol=far)
    assert torch.allclose(known(together), known(alone), atol=1e-4)


def test_the_cache_takes_the_memory_it_says() -> None:
    assert network(slots=3)._cache.nbytes == 2 * 3 * 2 * 25 * 32 * 4


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda net: net.prefill(4, [1], 0), "slot 4 is not in 0..3"),
        (lambda net: net.prefill(0, [60], 0), "id 60 is not in 0..59"),
        (lambda net: net.prefill(0, [-1], 0), "id -1"),
        (lambda net: net.prefill(0, [1, 2], 23), "position 24 is not in 0..23"),
        (lambda net: net.prefill(0, [], 0), "slot 0: no ids"),
        (lambda net: net.prefill_all([]), "at least one"),
        (lambda net: net.prefill_all([Part(1, [1], 0), Part(1, [1], 1)]), r"slots \[1, 1\]"),
        (lambda net: net.prefill_all([Part(0, [1], 0), Part(1, [60], 0)]), "id 60"),
        (lambda net: net.decode([0], [1], [24]), "position 24"),
        (lambda net: net.decode([0, 0], [1, 1], [3, 4]), "each slot once"),
        (lambda net: net.decode([0, 1], [1], [3, 4]), "1 ids"),
        (lambda net: net.decode([], [], []), "each slot"),
    ],
)
def test_what_does_not_exist_is_refused(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(TextError, match=words):
        call(network())


def test_weights_that_do_not_fit_are_refused() -> None:
    state = random_state(SMALL)
    lacking = {key: tensor for key, tensor in state.items() if key != "h.1.ln_2.weight"}
    wrong = {**state, "wpe.weight": torch.zeros(23, 32)}
    more = {**state, "h.0.attn.rotary": torch.zeros(2)}
    for bad, words in ((lacking, "h.1.ln_2.weight"), (wrong, r"\[23, 32\]"), (more, "rotary")):
        with pytest.raises(TextError, match=words):
            make_network(SMALL, bad, 1, Precision.FP32)


@pytest.mark.parametrize(
    ("slots", "limit", "words"), [(0, 57, "1 slot"), (1, 61, "61 ids"), (1, 0, "0 ids")]
)
def test_numbers_that_do_not_fit_are_refused(slots: int, limit: int, words: str) -> None:
    with pytest.raises(TextError, match=words):
        make_network(SMALL, random_state(SMALL), slots, Precision.FP32, vocab_limit=limit)


def test_int8_is_refused_on_cuda_before_anything_is_moved() -> None:
    with pytest.raises(TextError, match="use bf16"):
        make_network(SMALL, random_state(SMALL), 1, Precision.INT8, "cuda")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (GptConfig(0, 4, 32, 24, 60), "n_layer is 0"),
        (GptConfig(2, 5, 32, 24, 60), "multiple of n_head 5"),
        (GptConfig(2, 4, 32, True, 60), "block_size is True"),
    ],
)
def test_shapes_that_no_network_has_are_refused(config: GptConfig, words: str) -> None:
    with pytest.raises(TextError, match=words):
        check_config(config)
