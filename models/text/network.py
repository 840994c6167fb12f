"""The GPT-2 network with a static cache of keys and values.

What it is not: a file format (containers.py), a tokenizer, or sampling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from models.text.base import Gelu, GptConfig, Network, Part, Precision, TextError
from models.text.cache import Attention, Cache, Chunks, Rows, Window
from models.text.dense import Dense, check_int8, dense
from models.text.graphs import Graphs, buckets

_EPS = 1e-5
_NEVER = float("-inf")


@dataclass(frozen=True)
class _Norm:
    """LayerNorm with eps 1e-5; nanoGPT's form may lack the bias."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, self.weight.shape, self.weight, self.bias, _EPS)


@dataclass(frozen=True)
class _Block:
    """One transformer block: norms and products in the order of use."""

    before: _Norm
    qkv: Dense
    project: Dense
    between: _Norm
    widen: Dense
    narrow: Dense


class GptNetwork(Network):
    """GPT-2 as trained by OpenAI, nanoGPT and build-nanogpt (pre-norm, learned positions).

    On a CPU the residual stream, norms and attention are float32 whatever the precision of the
    weights; on CUDA everything is in the precision of the weights.
    """

    def __init__(
        self, config: GptConfig, weights: _Weights, slots: int, precision: Precision, limit: int
    ) -> None:
        """Use make_network."""
        self.config, self.slots, self.precision = config, slots, precision
        self._device = weights.device
        self._limit = limit
        self._tokens, self._places = weights.stream("wte.weight"), weights.stream("wpe.weight")
        self._blocks = [weights.block(n, config.gelu) for n in range(config.n_layer)]
        self._last = weights.norm("ln_f")
        head = "lm_head" if weights.has("lm_head.weight") else "wte"
        self._head = weights.dense(head, biased=False)
        self._graphs: Graphs | None = None
        rows = slots
        if self._device != "cpu":
            self._graphs = Graphs(self._window, slots, config.block_size, self._device)
            rows = buckets(slots)[-1]
        self._cache = Cache(config, rows, self._tokens.dtype, self._device)

    @torch.inference_mode()
    def prefill_all(self, parts: Sequence[Part]) -> Sequence[Tensor]:
        """See Network. The parts' rows lie one after the other, without padding: products take
        them all at once, attention each part for itself.

        Raises:
            TextError: a slot, an id or a position does not exist, a slot is named twice, or a part
                is empty.
        """
        self._check_parts(parts)
        counts = [len(part.ids) for part in parts]
        ids = [token_id for part in parts for token_id in part.ids]
        places = [part.start + place for part in parts for place in range(len(part.ids))]
        numbers = torch.tensor([ids, places], device=self._device)
        x = functional.embedding(numbers[0], self._tokens)
        x = x + functional.embedding(numbers[1], self._places)
        x = self._through(x, Chunks(self._cache, parts))
        own = zip(parts, x.split_with_sizes(counts), strict=True)
        wanted = [rows if part.every else rows[-1:] for part, rows in own]
        logits = self._logits(torch.cat(wanted)).split_with_sizes([len(rows) for rows in wanted])
        return [rows if part.every else rows[0] for part, rows in zip(parts, logits, strict=True)]

    @torch.inference_mode()
    def decode(self, slots: Sequence[int], ids: Sequence[int], positions: Sequence[int]) -> Tensor:
        """See Network.

        Raises:
            TextError: a slot, an id or a position does not exist, a slot is named twice, or the
                three are not equally long and at least one.
        """
        if not len(slots) == len(ids) == len(positions) == len(set(slots)) or not slots:
            raise TextError(
                f"one id and position for each slot, each slot once; got slots {list(slots)}, "
                f"{len(ids)} ids, {len(positions)} positions"
            )
        self._check(slots, ids, positions)
        if self._graphs is not None:
            return self._graphs.decode(slots, ids, positions)
        x = functional.embedding(torch.tensor(ids), self._tokens)
        x = x + functional.embedding(torch.tensor(positions), self._places)
        return self._logits(self._through(x, Rows(self._cache, slots, positions)))

    def _window(self, ids: Tensor, positions: Tensor, window: int) -> Tensor:
        """Logits of one token in each of the first slots; shapes depend on len(ids) and window."""
        places = positions.clamp_max(self.config.block_size - 1)
        x = functional.embedding(ids, self._tokens) + functional.embedding(places, self._places)
        return self._logits(self._through(x, Window(self._cache, positions, window)))

    def _through(self, x: Tensor, attend: Attention) -> Tensor:
        for layer, block in enumerate(self._blocks):
            x = block.project.onto(attend(layer, block.qkv(block.before(x))), x)
            x = block.narrow.onto(block.widen(block.between(x)), x)
        return x

    def _logits(self, x: Tensor) -> Tensor:
        logits = self._head(self._last(x)).float()
        if self._limit < self.config.vocab_size:
            logits[:, self._limit :] = _NEVER
        return logits

    def _check_parts(self, parts: Sequence[Part]) -> None:
        slots = [part.slot for part in parts]
        if not parts or len(set(slots)) < len(slots):
            raise TextError(f"one part for each slot, and at least one; got slots {slots}")
        for part in parts:
            if not part.ids:
                raise TextError(f"nothing to prefill in slot {part.slot}: no ids")
            self._check([part.slot], part.ids, [part.start, part.start + len(part.ids) - 1])

    def _check(self, slots: Sequence[int], ids: Sequence[int], positions: Sequence[int]) -> None:
        config = self.config
        for name, values, end in (
            ("slot", slots, self.slots),
            ("id", ids, config.vocab_size),
            ("position", positions, config.block_size),
        ):
            low, high = min(values), max(values)
            if low < 0 or high >= end:
                raise TextError(f"{name} {low if low < 0 else high} is not in 0..{end - 1}")


class _Weights:
    """A state dict on its way into a network."""

    def __init__(self, state: Mapping[str, Tensor], precision: Precision, device: str) -> None:
        self.device = device
        self._state, self._precision = state, precision
        cuda_bf16 = device != "cpu" and precision is Precision.BF16
        self._stream_dtype = torch.bfloat16 if cuda_bf16 else torch.float32

    def has(self, key: str) -> bool:
        """Whether there is such a tensor."""
        return key in self._state

    def stream(self, key: str) -> Tensor:
        """A tensor in the precision of the residual stream."""
        return self._state[key].to(self.device, self._stream_dtype, copy=True)

    def norm(self, name: str) -> _Norm:
        """A LayerNorm."""
        bias = f"{name}.bias"
        return _Norm(self.stream(f"{name}.weight"), self.stream(bias) if self.has(bias) else None)

    def dense(self, name: str, gelu: Gelu | None = None, *, biased: bool = True) -> Dense:
        """A product."""
        bias = self._state.get(f"{name}.bias") if biased else None
        return dense(self._state[f"{name}.weight"], bias, self._precision, self.device, gelu)

    def block(self, number: int, gelu: Gelu) -> _Block:
        """A transformer block."""
        name = f"h.{number}."
        return _Block(
            self.norm(f"{name}ln_1"),
            self.dense(f"{name}attn.c_attn"),
            self.dense(f"{name}attn.c_proj"),
            self.norm(f"{name}ln_2"),
            self.dense(f"{name}mlp.c_fc", gelu),
            self.dense(f"{name}mlp.c_proj"),
        )


def shapes(config: GptConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor a network of this configuration needs; linear weights are [out, in]."""
    wide = config.n_embd
    needed: dict[str, tuple[int, ...]] = {
        "wte.weight": (config.vocab_size, wide),
        "wpe.weight": (config.block_size, wide),
    }
    inner = {
        "attn.c_attn": (3 * wide, wide),
        "attn.c_proj": (wide, wide),
        "mlp.c_fc": (4 * wide, wide),
        "mlp.c_proj": (wide, 4 * wide),
    }
    for number in range(config.n_layer):
        for name, shape in {"ln_1": (wide,), "ln_2": (wide,), **inner}.items():
            needed[f"h.{number}.{name}.weight"] = shape
    needed["ln_f.weight"] = (wide,)
    if config.bias:
        biases = {
            key.removesuffix("weight") + "bias": shape[:1]
            for key, shape in needed.items()
            if not key.startswith("w")
        }
        needed.update(biases)
    return needed


def make_network(
    config: GptConfig,
    state_dict: Mapping[str, Tensor],
    slots: int,
    precision: Precision,
    device: str = "cpu",
    vocab_limit: int | None = None,
) -> GptNetwork:
    """A network of these weights; they are copied.

    Args:
        config: its shape.
        state_dict: the tensors that `shapes(config)` names, in any float type, and
            "lm_head.weight" where the output is not tied to the tokens.
        slots: rows of the cache.
        precision: of the weights and products.
        device: "cpu" or a CUDA device of PyTorch.
        vocab_limit: the tokenizer's size; ids at and beyond it get -inf.

    Raises:
        TextError: the numbers do not fit together, a tensor is missing or has another shape, or the
            device cannot do the precision.
    """
    check_config(config)
    _check_state(config, state_dict)
    if slots < 1:
        raise TextError(f"a network needs at least 1 slot, not {slots}")
    limit = config.vocab_size if vocab_limit is None else vocab_limit
    if not 0 < limit <= config.vocab_size:
        raise TextError(
            f"the tokenizer has {limit} ids, but the network only {config.vocab_size}: "
            "it belongs to another checkpoint"
        )
    if precision is Precision.INT8:
        check_int8(device)
    return GptNetwork(config, _Weights(state_dict, precision, device), slots, precision, limit)


def check_config(config: GptConfig) -> None:
    """Raises:
    TextError: numbers that no network has.
    """
    numbers = {
        name: getattr(config, name)
        for name in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
    }
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 24:
            raise TextError(f"{name} is {value!r}; it must be a whole number from 1")
    if config.n_embd % config.n_head:
        raise TextError(f"n_embd {config.n_embd} is not a multiple of n_head {config.n_head}")


def _check_state(config: GptConfig, state: Mapping[str, Tensor]) -> None:
    needed = shapes(config)
    for key, shape in needed.items():
        if key not in state:
            raise TextError(f"tensor {key!r} is missing")
        _check_shape(key, state[key], shape)
    if "lm_head.weight" in state:
        _check_shape("lm_head.weight", state["lm_head.weight"], needed["wte.weight"])
    extra = sorted(set(state) - set(needed) - {"lm_head.weight"})
    if extra:
        raise TextError(f"tensor {extra[0]!r} is not one of GPT-2's ({len(extra)} such)")


def _check_shape(key: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != shape:
        raise TextError(
            f"tensor {key!r} has shape {list(tensor.shape)}; the configuration says {list(shape)}"
        )
