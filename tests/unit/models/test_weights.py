"""Files of weights: what is read, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from models.weights import WeightsError, fill, read_weights

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}


class Evil:
    """Runs code where it is unpickled by the usual way."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


@pytest.mark.parametrize(
    "whole", [STATE, {"state_dict": STATE}, {"model_state_dict": STATE, "step": 3}]
)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_read_bare_or_wrapped(tmp_path: Path, whole: Any, zipped: bool) -> None:
    torch.save(whole, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    found = read_weights(tmp_path / "a.pth")
    assert found.keys() == STATE.keys()
    assert torch.equal(found["weight"], STATE["weight"])


def test_safetensors_are_read(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "a.safetensors")
    assert torch.equal(read_weights(tmp_path / "a.safetensors")["bias"], STATE["bias"])


def _saved(value: Any) -> Callable[[Path], None]:
    return lambda path: torch.save(value, path)


def _bytes(data: bytes) -> Callable[[Path], None]:
    return lambda path: _put(path, data)


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def _cut(path: Path) -> None:
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "a.pth is missing in"),
        (_saved({"a": Evil()}), r"holds code \(.*print\), which is not run"),
        (_saved([1, 2]), "no named tensors"),
        (_saved({}), "no named tensors"),
        (_saved({"weight": 3}), "'weight' in it is not a tensor"),
        (_bytes(b""), "damaged or cut off"),
        (_bytes(b"hello, no file of weights"), "damaged"),
        (_bytes(b"\x80\x02}q\x00."), "damaged"),
        (_cut, "damaged, cut off or no file|damaged or cut off"),
    ],
)
def test_what_is_no_weights_is_one_clear_line(
    tmp_path: Path, write: Callable[[Path], None], message: str
) -> None:
    path = tmp_path / "a.pth"
    write(path)
    with pytest.raises(WeightsError, match=message) as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)
    assert "a.pth" in str(caught.value)


def test_a_damaged_safetensors_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{bad}")
    with pytest.raises(WeightsError, match="damaged or cut off"):
        read_weights(tmp_path / "a.safetensors")


def test_a_module_is_filled_with_copies_in_the_wanted_type() -> None:
    with torch.device("meta"):
        module = nn.Sequential(nn.Linear(3, 2), nn.Conv2d(2, 4, 3))
    state = {"0.weight": STATE["weight"].clone().reshape(2, 3, 1, 1), "0.bias": STATE["bias"]}
    state |= {"1.weight": torch.ones(4, 2, 3, 3), "1.bias": torch.zeros(4)}
    fill(module, state, "file", torch.zeros((), dtype=torch.float16))
    made = dict(module.named_parameters())
    assert torch.equal(made["0.weight"], STATE["weight"].half())
    assert made["1.weight"].is_contiguous(memory_format=torch.channels_last)
    assert not made["1.weight"].requires_grad
    state["0.weight"].fill_(9)
    assert float(made["0.weight"].max()) == 5
    assert not module.training


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": STATE["weight"]}, "has no tensor 'bias'"),
        ({**STATE, "bias": torch.ones(3)}, r"'bias' has the shape \[3\], must be \[2\]"),
    ],
)
def test_tensors_that_do_not_fit_are_named(state: dict[str, torch.Tensor], message: str) -> None:
    with torch.device("meta"):
        module = nn.Linear(3, 2)
    with pytest.raises(WeightsError, match=message):
        fill(module, state, "file", torch.zeros(()))
