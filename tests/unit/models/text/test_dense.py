"""Products in every precision and by every kind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from models.text import dense as module
from models.text.base import Gelu, Precision, TextError
from models.text.dense import Dense, Int8Dense, PackedDense, PlainDense, check_int8, dense

SOURCE = torch.Generator().manual_seed(3)
WEIGHT = torch.randn(24, 16, generator=SOURCE)
BIAS = torch.randn(24, generator=SOURCE)
X = torch.randn(5, 16, generator=SOURCE)
# Largest error allowed; outputs are about 4 in size.
FAR = {Precision.FP32: 1e-5, Precision.BF16: 0.1, Precision.INT8: 0.15}


def expected(bias: Tensor | None, gelu: Gelu | None) -> Tensor:
    y = X @ WEIGHT.T if bias is None else X @ WEIGHT.T + bias
    if gelu is None:
        return y
    return functional.gelu(y, approximate="tanh" if gelu is Gelu.TANH else "none")


def every_kind(bias: Tensor | None, gelu: Gelu | None) -> list[tuple[Dense, float]]:
    made = [(dense(WEIGHT, bias, kind, "cpu", gelu), FAR[kind]) for kind in Precision]
    return [*made, (PlainDense(WEIGHT, bias, gelu), FAR[Precision.FP32])]


@pytest.mark.parametrize("gelu", [None, *Gelu])
@pytest.mark.parametrize("bias", [None, BIAS])
def test_every_kind_multiplies_adds_and_bends(bias: Tensor | None, gelu: Gelu | None) -> None:
    for product, far in every_kind(bias, gelu):
        y = product(X)
        assert y.shape == (5, 24)
        assert (y.float() - expected(bias, gelu)).abs().max() < far


def test_every_kind_adds_to_a_residual_in_its_precision() -> None:
    residual = torch.randn(5, 24)
    before = residual.clone()
    for product, far in every_kind(BIAS, None):
        y = product.onto(X, residual)
        assert y.dtype == torch.float32
        assert (y - expected(BIAS, None) - residual).abs().max() < far
        assert torch.equal(residual, before)


@pytest.mark.parametrize("precision", list(Precision))
def test_a_loud_row_does_not_blur_a_quiet_one(precision: Precision) -> None:
    product = dense(WEIGHT, None, precision)
    quiet = product(X[:1])
    mixed = product(torch.cat([X[:1], 1000 * X[1:]]))[:1]
    assert (quiet - mixed).abs().max() < 1e-4


def test_a_row_of_zeros_gives_the_bias() -> None:
    for product, far in every_kind(BIAS, None):
        assert (product(torch.zeros(1, 16))[0].float() - BIAS).abs().max() < far


def test_the_weights_are_the_products_own() -> None:
    weight = WEIGHT.clone()
    for kind in Precision:
        product = dense(weight, None, kind)
        before = product(X)
        weight.zero_()
        assert torch.equal(product(X), before)
        weight.copy_(WEIGHT)


def test_the_quantised_engine_is_left_as_it_was() -> None:
    before = torch.backends.quantized.engine
    dense(WEIGHT, BIAS, Precision.INT8)
    assert torch.backends.quantized.engine == before


def test_without_vnni_activations_have_seven_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    product = Int8Dense(WEIGHT, BIAS, None)
    assert (product(X) - expected(BIAS, None)).abs().max() < 2 * FAR[Precision.INT8]


def test_where_onednn_does_not_serve_pytorch_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(dense(WEIGHT, BIAS, Precision.FP32), PackedDense)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    product = dense(WEIGHT, BIAS, Precision.FP32)
    assert isinstance(product, PlainDense)
    assert (product(X) - expected(BIAS, None)).abs().max() < FAR[Precision.FP32]


def test_int8_is_refused_where_it_cannot_be_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TextError, match="for the CPU, not cuda"):
        check_int8("cuda")
    monkeypatch.setattr(module, "_engines", lambda: ["qnnpack"])
    with pytest.raises(TextError, match="FBGEMM"):
        dense(WEIGHT, BIAS, Precision.INT8)
