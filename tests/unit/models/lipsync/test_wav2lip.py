"""What is special to Wav2Lip: its files, its input, what it paints; the rest: test_contract.py."""

from __future__ import annotations

import math
import os
import pickle
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import structlog
import torch

from models.lipsync import wav2lip
from models.lipsync.base import Box, LipItem, Pose, Rect
from models.weights import WeightsError
from runtime import precision
from tests.unit.models.lipsync import hourglasses
from tests.unit.models.lipsync.goldens import GOLDEN, SMALL, numbers
from tests.unit.models.lipsync.scenes import cut, item, picture, pose

FACE = Rect(120, 90, 281, 300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of weights with the file of the plain model."""
    folder = tmp_path_factory.mktemp("weights")
    state = {f"module.{key}": value.half() for key, value in hourglasses.state().items()}
    torch.save({"state_dict": state, "global_step": 3, "optimizer": None}, folder / "wav2lip.pth")
    yield folder
    (folder / "wav2lip.pth").unlink()


def tight(rect: Rect) -> Pose:
    return Pose(200, 190, 200, 0.0, 200, 245, 66, rect)


def work(rect: Rect, feature: int = 1) -> LipItem:
    crop, where = cut(picture(), tight(rect), hourglasses.backend())
    return LipItem(crop, where, hourglasses.FEATURES[feature], None)


def test_it_is_driven_by_the_mel_and_worth_sparing() -> None:
    backend = hourglasses.backend()
    assert (backend.name, backend.speech, backend.infers) == ("wav2lip", "mel", True)
    assert not backend.wants_landmarks


@pytest.mark.parametrize("source", [GOLDEN, SMALL])
def test_the_input_equals_the_stored_one(source: Path) -> None:
    stored = numbers("wav2lip_boxes", source)
    crops = {"input_96": "crop_96", "input_120x100": "crop_120x100", "input": "crop"}
    for made, given in crops.items():
        if given not in stored:
            continue
        crop = stored[given]
        shown = wav2lip.face(crop, Box(0, 0, crop.shape[1], crop.shape[0]))
        got = wav2lip.masked(torch.from_numpy(shown[None])).numpy()
        assert np.array_equal(got, stored[made])


def test_the_picture_that_is_painted_equals_the_reference() -> None:
    stored = numbers("wav2lip_boxes")
    top, bottom, left, right = stored["paste_coords"]
    box = Box(int(left), int(top), int(right - left), int(bottom - top))
    (made,) = wav2lip.painted(torch.from_numpy(stored["paste_pred"])).numpy()
    patch = wav2lip.patch(made, box)
    rows, columns = patch.weight.shape
    want = stored["paste_result"][patch.y : patch.y + rows, patch.x : patch.x + columns]
    assert np.array_equal(patch.image, want)
    assert (patch.x + columns, patch.y + rows) == (right, bottom)


def test_the_reference_pads_as_the_box_does() -> None:
    stored = numbers("wav2lip_boxes")
    height, width = stored["image_hw"]
    for rect, want in zip(
        stored["detector_rects"], stored["coords_pads_default_nosmooth"], strict=True
    ):
        box = hourglasses.backend().crop_box(tight(Rect(*(float(edge) for edge in rect))))
        clipped = (max(0, box.y), min(height, box.y + box.height))
        aside = (max(0, box.x), min(width, box.x + box.width))
        assert [*clipped, *aside] == want.tolist()


def test_a_pose_without_a_tight_rectangle_gets_one_by_proportion() -> None:
    box = hourglasses.backend().crop_box(pose(2.0))
    assert box.width == 156
    assert box.height == 226 + wav2lip.PAD_BOTTOM_PX


def test_the_box_of_a_speck_is_still_a_picture() -> None:
    box = hourglasses.backend().crop_box(tight(Rect(50, 50, 51, 51)))
    assert (box.width, box.height) == (16, 16)


def test_only_what_the_network_was_not_shown_is_painted() -> None:
    patch = hourglasses.backend().render([work(FACE)])[0]
    assert patch.y == 110
    assert patch.weight[0].max() == 0
    assert patch.weight[round(0.08 * 220)].max() == 1
    assert (np.diff(patch.weight[:, 80])[:17] > 0).all()


def test_the_network_sees_the_frame_and_the_sound() -> None:
    backend, seen = hourglasses.backend(), []

    def network(mel: torch.Tensor, faces: torch.Tensor) -> torch.Tensor:
        seen.append((mel.numpy().copy(), faces.numpy().copy()))
        return faces[:, 3:]

    echo = wav2lip.Wav2Lip("echo", network, "cpu")
    given = work(FACE)
    (patch,) = echo.render([given])
    mel, faces = seen[-1]
    assert np.array_equal(mel[0, 0], given.feature)
    assert not faces[0, :3, 48:].any()
    assert np.array_equal(faces[0, :3, :48], faces[0, 3:, :48])
    box = backend.crop_box(given.pose)
    shown = given.crop[box.y : box.y + box.height, box.x : box.x + box.width]
    blurred = cv2.resize(cv2.resize(shown, (96, 96)), (box.width, box.height))
    near = np.abs(patch.image.astype(int) - blurred[patch.y - box.y :].astype(int))
    assert near.max() <= 1


def test_a_crop_without_its_face_is_refused() -> None:
    given = work(FACE)
    far = LipItem(given.crop, given.pose.moved(500, 0), given.feature, None)
    with pytest.raises(ValueError, match="outside"):
        hourglasses.backend().render([far])


@pytest.mark.parametrize("crop", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32)])
def test_what_is_no_picture_is_refused(crop: np.ndarray) -> None:
    given = item(hourglasses.backend(), hourglasses.FEATURES[1])
    with pytest.raises(ValueError, match="uint8"):
        hourglasses.backend().render([LipItem(crop, given.pose, given.feature, None)])


def test_a_published_file_is_loaded_and_says_its_precision(folder: Path) -> None:
    with structlog.testing.capture_logs() as logs:
        backend = wav2lip.load("cpu", folder)
    (line,) = [entry for entry in logs if entry["event"] == "precision"]
    assert line["psnr_db"] >= 40
    (made,), (want,) = (each.render([work(FACE)]) for each in (backend, hourglasses.backend()))
    apart = made.image.astype(float) - want.image
    assert 10 * np.log10(255**2 / (apart**2).mean()) > 40


def test_full_precision_is_kept_where_less_is_not_allowed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_policy", precision.Policy(amp=False))
    with structlog.testing.capture_logs() as logs:
        wav2lip.load("cpu", folder)
    assert [entry["dtype"] for entry in logs if entry["event"] == "precision"] == ["torch.float32"]


def test_the_other_weights_have_a_file_and_a_name_of_their_own(folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"wav2lip_gan\.pth is missing"):
        wav2lip.load_gan("cpu", folder)
    os.link(folder / "wav2lip.pth", folder / "wav2lip_gan.pth")
    assert wav2lip.load_gan("cpu", folder).name == "wav2lip-gan"


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize("kind", ["cut", "empty", "code", "pickled code", "other", "shape", "nan"])
def test_what_is_no_generator_is_one_clear_line(kind: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "wav2lip.pth"
    whole = (folder / "wav2lip.pth").read_bytes()
    state = dict(hourglasses.state())
    key = "output_block.1.weight"
    if kind == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "code":
        torch.save({"state_dict": Code()}, path)
    elif kind == "pickled code":
        path.write_bytes(pickle.dumps(Code(), protocol=2))
    else:
        wrong = {"shape": torch.zeros(3), "nan": state[key] * math.nan}
        broken = wrong.get(kind)
        changed = {name: value for name, value in state.items() if name != key}
        torch.save({"state_dict": changed if broken is None else {**changed, key: broken}}, path)
    with pytest.raises(WeightsError, match=r"wav2lip\.pth") as caught:
        wav2lip.load("cpu", tmp_path)
    assert "\n" not in str(caught.value)
    assert kind not in ("other", "shape", "nan") or key in str(caught.value)
