"""Face boxes steadied as Wav2Lip's reference does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from face_detect_utils.boxes import smooth_boxes

GOLDEN = Path(__file__).resolve().parents[4] / "shared" / "golden" / "wav2lip_boxes.npz"


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 12])
def test_agrees_with_the_reference_to_the_bit(count: int) -> None:
    if not GOLDEN.is_file():
        pytest.skip(f"{GOLDEN} is not there")
    with np.load(GOLDEN) as golden:
        track, wanted = golden["track"][:count], golden[f"smoothed_first{count}"]
    smooth = smooth_boxes(track)
    assert smooth.dtype == wanted.dtype
    assert np.array_equal(smooth, wanted)


@pytest.mark.parametrize("pads", ["default", "5_20_8_3"])
def test_agrees_with_the_reference_on_padded_boxes(pads: str) -> None:
    if not GOLDEN.is_file():
        pytest.skip(f"{GOLDEN} is not there")
    with np.load(GOLDEN) as golden:
        raw, wanted = (golden[f"coords_pads_{pads}_{kind}"] for kind in ("nosmooth", "smooth"))
    assert np.array_equal(smooth_boxes(raw), wanted)


def column(values: list[int]) -> np.ndarray:
    return np.repeat(np.array(values, np.int32)[:, None], 4, axis=1)


def test_integers_are_cut_and_the_end_uses_what_is_smoothed_already() -> None:
    smooth = smooth_boxes(column([0, 1, 2, 3, 8, 9]))
    # 14/5, 23/5, then the last five, of which one, two, ... are smoothed: 26/5, 29/5, 31/5, 29/5
    assert smooth[:, 0].tolist() == [2, 4, 5, 5, 6, 5]


def test_floats_are_not_rounded() -> None:
    smooth = smooth_boxes(column([0, 1, 2, 3, 8, 9]).astype(np.float64))
    assert smooth[:2, 0].tolist() == pytest.approx([2.8, 4.6])


@pytest.mark.parametrize(
    ("values", "wanted"), [([4], [4]), ([4, 8], [6, 7]), ([1, 2, 9, 7], [7] * 4)]
)
def test_short_tracks_keep_the_references_oddity(values: list[int], wanted: list[int]) -> None:
    assert smooth_boxes(column(values))[:, 0].tolist() == wanted


def test_the_boxes_given_are_left_alone_and_none_stay_none() -> None:
    boxes = column([1, 2, 3, 4, 5, 6])
    smooth_boxes(boxes)
    assert boxes[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert smooth_boxes(np.zeros((0, 4), np.int32)).shape == (0, 4)


@pytest.mark.parametrize(("shape", "window"), [((3, 5), 5), ((4,), 5), ((3, 4), 0)])
def test_other_shapes_and_windows_are_refused(shape: tuple[int, ...], window: int) -> None:
    with pytest.raises(ValueError, match="are needed"):
        smooth_boxes(np.zeros(shape, np.int32), window)
