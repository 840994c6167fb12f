"""Encoders."""

from __future__ import annotations

import pytest

from scripts.doctor.checks import encoder
from scripts.doctor.look import Look


def test_libx264_and_aac_encode() -> None:
    (finding,) = encoder.check(Look("python"))
    assert finding.text.startswith("libx264 and AAC work")
    assert "NVENC" not in finding.text


def test_with_a_gpu_nvenc_is_tried_and_told_and_no_more() -> None:
    (finding,) = encoder.check(Look("python", facts={"cuda_devices": 1}))
    assert "NVENC" in finding.text
    assert finding.code == ""


@pytest.mark.parametrize("wrong", ["no_such_codec", "aac"])
def test_a_build_without_the_encoder_is_a_problem(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = encoder.encode_video
    monkeypatch.setattr(encoder, "encode_video", lambda _codec: real(wrong))
    (finding,) = encoder.check(Look("python"))
    assert finding.code == "encoder-broken"


def test_sound_that_cannot_be_encoded_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise ValueError("aac encodes no sound")

    monkeypatch.setattr(encoder, "encode_sound", broken)
    assert [one.code for one in encoder.check(Look("python"))] == ["encoder-broken"]
