"""The segments' time stamps name frames exactly. (What is in segments: test_pipeline.py.)"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trans_dh_service import sink
from trans_dh_service.sink import frame_number, segment_ticks

RATES = st.one_of(
    st.sampled_from([Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)]),
    st.fractions(1, 240, max_denominator=1001),
)


@given(st.integers(-8, 500_000), RATES)
def test_a_stamp_is_turned_back_into_its_frame(index: int, fps: Fraction) -> None:
    assert frame_number(segment_ticks(index / fps), fps) == index


@given(st.integers(0, 500_000), RATES)
def test_stamps_rise(index: int, fps: Fraction) -> None:
    assert segment_ticks((index + 1) / fps) > segment_ticks(index / fps) > 0


@pytest.mark.parametrize(("features", "kept_off"), [("avx2 avx512f", True), ("avx2", False)])
def test_x264_is_kept_off_code_whose_results_vary(
    features: str, kept_off: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(f"flags : {features}\n")
    monkeypatch.setattr(sink, "CPU_INFO", info)
    sink._steady_code.cache_clear()
    assert sink._steady_code().endswith("AVX2") is kept_off
    sink._steady_code.cache_clear()
    monkeypatch.setattr(sink, "CPU_INFO", tmp_path / "none")
    assert sink._steady_code() == ""
    sink._steady_code.cache_clear()
