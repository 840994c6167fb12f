"""Matrix products with fixed weights: the fastest way that this machine has for each precision.

What it is not: a network (network.py). Every kind treats each row for itself, so a stream's numbers
do not depend on its neighbours in a batch.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional

from models.text.base import Gelu, Precision, TextError

# Rows that oneDNN lays bf16 weights out for. On Zen 5, GPT-2 124M in bf16, 16 rows: 19 ms against
# 28 ms without the hint, and one row is no slower; in fp32 the library's own choice is best.
_BF16_ROWS = 16
_SMALLEST = 1e-12


class Dense(ABC):
    """x @ weight.T + bias, with a GELU after it where one was asked for."""

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """[rows, out] of x [rows, in]; float32, or bfloat16 where that is what was computed."""

    def onto(self, x: Tensor, residual: Tensor) -> Tensor:
        """The product added to `residual` [rows, out], in the residual's precision."""
        return residual + self(x)


class PlainDense(Dense):
    """PyTorch's own product: CUDA, and CPUs that oneDNN does not serve."""

    def __init__(self, weight: Tensor, bias: Tensor | None, gelu: Gelu | None) -> None:
        self._weight, self._bias, self._gelu = weight, bias, gelu

    def __call__(self, x: Tensor) -> Tensor:
        """See Dense."""
        y = functional.linear(x.to(self._weight.dtype), self._weight, self._bias)
        return y if self._gelu is None else _gelu(y, self._gelu)


class PackedDense(Dense):
    """oneDNN with weights laid out once, GELU and addition fused.

    One row of GPT-2 124M in fp32 takes 16 ms against 29 ms with `linear`, 16 rows 32 ms against
    82 ms (one core of a Zen 5).
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, gelu: Gelu | None) -> None:
        rows = _BF16_ROWS if weight.dtype == torch.bfloat16 else None
        self._dtype = weight.dtype
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), rows)
        self._bias = bias
        self._after = "none" if gelu is None else "gelu"
        self._form = "tanh" if gelu is Gelu.TANH else "none"
        self._product = torch.ops.mkldnn._linear_pointwise.default
        self._added = torch.ops.mkldnn._linear_pointwise.binary

    def __call__(self, x: Tensor) -> Tensor:
        """See Dense."""
        y: Tensor = self._product(
            x.to(self._dtype), self._weight, self._bias, self._after, [], self._form
        )
        return y

    def onto(self, x: Tensor, residual: Tensor) -> Tensor:
        """See Dense."""
        if self._dtype != residual.dtype or self._after != "none":
            return residual + self(x)
        y: Tensor = self._added(x, residual, self._weight, self._bias, "add")
        return y


class Int8Dense(Dense):
    """FBGEMM: int8 weights with a scale per output, activations in 8 bits with a scale per row.

    The scale per row (the row's largest magnitude) is taken outside of the library, whose own
    dynamic form has one scale for the whole batch: there a loud stream would blur its neighbours.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, gelu: Gelu | None) -> None:
        self._weight = _packed_int8(weight)
        self._bias, self._gelu = bias, gelu
        # Without VNNI two products are summed in 16 bits, which holds only 7-bit activations.
        self._levels = 127 if torch.cpu._is_vnni_supported() else 63
        self._product = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32.default

    def __call__(self, x: Tensor) -> Tensor:
        """See Dense."""
        scale = x.abs().amax(-1, keepdim=True).clamp_min_(_SMALLEST)
        y: Tensor = self._product(x / scale, 1 / self._levels, self._levels + 1, self._weight)
        y = y.mul_(scale) if self._bias is None else torch.addcmul(self._bias, y, scale)
        return y if self._gelu is None else _gelu(y, self._gelu)


def dense(
    weight: Tensor,
    bias: Tensor | None,
    precision: Precision,
    device: str = "cpu",
    gelu: Gelu | None = None,
) -> Dense:
    """The product of `weight` [out, in] and `bias` [out] (both float32, kept no longer).

    Raises:
        TextError: this machine cannot multiply in that precision.
    """
    if precision is Precision.INT8:
        check_int8(device)
        return Int8Dense(weight, _own(bias, torch.float32, device), gelu)
    dtype = torch.bfloat16 if precision is Precision.BF16 else torch.float32
    own = weight.to(device, dtype, copy=True)
    kind = PackedDense if device == "cpu" and _packs(dtype) else PlainDense
    return kind(own, _own(bias, dtype, device), gelu)


def check_int8(device: str) -> None:
    """Raises:
    TextError: there is no int8 on this device.
    """
    if device != "cpu":
        raise TextError(f"precision int8 is for the CPU, not {device}: use bf16 or fp32")
    if "fbgemm" not in _engines():
        raise TextError("precision int8 needs FBGEMM (an x86 CPU with AVX2): use bf16 or fp32")


def _engines() -> list[str]:
    return list(torch.backends.quantized.supported_engines)


def _packs(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _own(tensor: Tensor | None, dtype: torch.dtype, device: str) -> Tensor | None:
    return None if tensor is None else tensor.to(device, dtype, copy=True)


def _gelu(y: Tensor, form: Gelu) -> Tensor:
    return functional.gelu(y, approximate="tanh" if form is Gelu.TANH else "none")


def _packed_int8(weight: Tensor) -> object:
    weight = weight.float().contiguous()
    scales = weight.abs().amax(1).clamp_min(_SMALLEST).double() / 127
    zeros = torch.zeros(len(weight), dtype=torch.int64)
    with warnings.catch_warnings():
        # PyTorch means to drop quantised tensors; its version is pinned in requirements.txt.
        warnings.simplefilter("ignore", UserWarning)
        quantised = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = "fbgemm"
    try:
        packed: object = torch.ops.quantized.linear_prepack(quantised, None)
    finally:
        torch.backends.quantized.engine = before
    return packed
