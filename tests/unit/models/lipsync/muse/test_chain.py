"""The networks together: precision, batches, what the compiler does to them."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from structlog.testing import capture_logs

from models.lipsync import gate
from models.lipsync.muse import chain as chains
from models.lipsync.muse.chain import Chain, Fallback, Precision, Published, open_chain
from models.lipsync.muse.unet import Folded
from models.weights import WeightsError
from tests.data import musetalk
from tests.unit.models.lipsync.muses import apart, chain, sound

FACES = [musetalk.picture(f"face {index}", 256, 256) for index in range(2)]

HALF = [Precision(torch.float16, torch.float16), Precision(vae=torch.float16)]


def test_a_face_becomes_a_speaking_face() -> None:
    latents = chain().encode(FACES)
    assert latents.shape == (2, 8, 32, 32)
    assert latents.dtype == np.float16
    spoken = chain().speak(latents, np.stack([sound(0), sound(1)])).numpy()
    assert spoken.shape == (2, 256, 256, 3)
    assert spoken.dtype == np.uint8


def test_latents_hide_the_lower_half_first_and_then_show_all() -> None:
    face = FACES[0].copy()
    face[128:] = 255 - face[128:]
    first, changed = chain().encode([FACES[0], face])
    assert np.array_equal(first[:4], changed[:4])
    assert not np.array_equal(first[4:], changed[4:])


def test_more_faces_than_are_encoded_at_once_keep_their_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = chain().encode(FACES)
    monkeypatch.setitem(chains.ENCODED_AT_ONCE, "cpu", 2)
    assert apart(chain().encode(FACES), whole) < 1e-3


def test_the_sound_has_its_place() -> None:
    """Without positions the order of the sound's rows would not matter to attention."""
    latents = chain().encode(FACES[:1])
    heard = sound(5)
    forward, backward = (chain().speak(latents, rows[None]) for rows in (heard, heard[::-1]))
    assert apart(forward, backward) > 3


def test_a_reduced_precision_that_keeps_the_picture_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gate, "LEAST_PSNR_DB", 10.0)
    assert open_chain(musetalk.published(), "cpu", HALF).precision == HALF[0]


def test_the_autoencoder_alone_may_be_reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    found_db = iter([30.0, 45.0])
    monkeypatch.setattr(gate, "psnr_db", lambda *_: next(found_db))
    assert open_chain(musetalk.published(), "cpu", HALF).precision == HALF[1]


def test_networks_that_were_tried_are_freed_at_once() -> None:
    gc.disable()
    try:
        tried = weakref.ref(Chain(musetalk.published(), "cpu", Precision()))
        assert tried() is None
    finally:
        gc.enable()


def test_both_networks_are_tried_before_one() -> None:
    tried = chains.precisions("cuda")
    assert [each.unet == each.vae for each in tried] == [True, True, False, False]
    assert all(each.vae != torch.float32 for each in tried)


def test_one_that_spoils_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "LEAST_PSNR_DB", 200.0)
    with capture_logs() as logs:
        assert open_chain(musetalk.published(), "cpu", HALF).precision == Precision()
    assert [(log["unet"], log["vae"]) for log in logs] == [
        ("torch.float16", "torch.float16"),
        ("torch.float32", "torch.float16"),
    ]


def test_without_choices_there_is_nothing_to_try() -> None:
    with capture_logs() as logs:
        assert open_chain(musetalk.published(), "cpu", []).precision == Precision()
    assert not logs


def test_another_encoder_has_another_name() -> None:
    changed = dict(musetalk.vae_state())
    changed["quant_conv.weight"] = changed["quant_conv.weight"] + 1
    published = Published(
        musetalk.unet_state(), changed, unet_shape=musetalk.UNET, vae_shape=musetalk.VAE
    )
    assert Chain(published, "cpu", Precision()).fingerprint != chain().fingerprint


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("conv_in.bias"), "no tensor 'conv_in.bias'"),
        (lambda state: state.update({"conv_in.bias": torch.zeros(3)}), r"\[3\], must be \[8\]"),
        (lambda state: state.pop("time_embedding.linear_1.weight"), "time_embedding"),
        (lambda state: state.clear(), "no tensor 'conv_in.weight'"),
    ],
)
def test_tensors_that_do_not_fit_are_one_clear_line(
    spoil: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    state = dict(musetalk.unet_state())
    spoil(state)
    published = Published(
        state, musetalk.vae_state(), "unet.pth", unet_shape=musetalk.UNET, vae_shape=musetalk.VAE
    )
    with pytest.raises(WeightsError, match=message) as caught:
        Chain(published, "cpu", Precision())
    assert "unet.pth" in str(caught.value)


def test_the_compiled_decoder_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real way of `compile`, with a compiler that hands the function back."""
    compiled: list[object] = []

    def compile_(fn: Callable[..., object], dynamic: bool) -> Callable[..., object]:
        compiled.append((fn, dynamic))
        return fn

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr(chains, "SIZES", (1, 2))
    made = Chain(musetalk.published(), "cpu", Precision())
    before = made.speak(made.encode(FACES), np.stack([sound(0), sound(1)]))
    made.compile()
    after = made.speak(made.encode(FACES), np.stack([sound(0), sound(1)]))
    assert len(compiled) == 1
    assert torch.equal(before, after)


def test_a_compiler_that_fails_is_left_out_for_good() -> None:
    tries: list[int] = []

    def broken(x: torch.Tensor) -> torch.Tensor:
        tries.append(1)
        raise RuntimeError("no compiler here")

    run = Fallback(broken, lambda x: x + 1)
    with capture_logs() as logs:
        assert run(torch.ones(1)) == 2
        assert run(torch.ones(1)) == 2
    assert len(tries) == 1
    assert [log["event"] for log in logs] == ["decoder not compiled, runs as it is"]


def test_a_full_memory_is_no_compilers_failure() -> None:
    def full(x: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Fallback(full, lambda x: x)(torch.ones(1))


def test_a_folded_state_has_what_the_network_has() -> None:
    state = Folded(musetalk.unet_state())
    names = {name for name, _ in musetalk.network().named_parameters()}
    assert set(state) == names
    assert len(state) == len(names)
