"""MuseTalk's avatar directories: what they hold, and what is refused."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from models.lipsync.muse.avatar import AvatarError, forward, plain, read_avatar, read_mask
from models.lipsync.muse.box import Edges
from tests.unit.models.lipsync.muse import avatars


class Evil:
    """Runs a command where it is unpickled by the usual way."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run",))


def test_the_way_forward_is_read(tmp_path: Path) -> None:
    avatar = read_avatar(avatars.write(tmp_path / "a"))
    assert [path.name for path in avatar.frames] == [f"{i:08d}.png" for i in range(4)]
    assert [face is not None for face in avatar.faces] == [True, True, False, True]
    last = avatar.faces[3]
    assert last is not None
    assert last.box == Edges(61, 40, 141, 142)
    assert np.array_equal(last.latents, avatars.latents()[2][0].half().numpy())
    assert last.mask is not None
    assert last.around is not None
    assert read_mask(last.mask, last.around).max() == 255
    assert avatar.version == "v15"


@pytest.mark.parametrize("version", [None, "v1"])
def test_old_directories_are_of_version_1(tmp_path: Path, version: str | None) -> None:
    assert read_avatar(avatars.write(tmp_path / "a", version)).version == "v1"


def test_a_directory_without_info_or_masks_is_read(tmp_path: Path) -> None:
    folder = avatars.write(tmp_path / "a", masks=False)
    (folder / "avator_info.json").unlink()
    avatar = read_avatar(folder)
    assert avatar.version == "v1"
    assert all(face is None or face.mask is None for face in avatar.faces)


def test_a_list_that_is_no_mirror_is_taken_whole() -> None:
    one, two = Edges(0, 0, 9, 9), Edges(1, 1, 9, 9)
    assert forward([one, two, two, one]) == 2
    assert forward([one, two, one, two]) == 4
    assert forward([one, two, one]) == 3


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _with(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda folder: _put(folder / name, data)


def _put(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def _no_pictures(folder: Path) -> None:
    for file in (folder / "full_imgs").iterdir():
        file.unlink()


def _tensor(value: Any) -> Callable[[Path], None]:
    return lambda folder: torch.save(value, folder / "latents.pt")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_pictures, "full_imgs holds no .png"),
        (_without("coords.pkl"), "coords.pkl is missing"),
        (_without("latents.pt"), "latents.pt is missing"),
        (_without("mask/00000003.png"), "7 masks and 8 of their rectangles"),
        (_with("coords.pkl", pickle.dumps([Evil()])), r"holds code \(builtins.print\)"),
        (_with("coords.pkl", pickle.dumps({"a": 1})), "holds a dict"),
        (_with("coords.pkl", pickle.dumps(["text"])), "holds a str"),
        (_with("coords.pkl", pickle.dumps(7)), "no list of rectangles"),
        (_with("coords.pkl", pickle.dumps([(1, 2, 3)])), "four numbers"),
        (_with("coords.pkl", pickle.dumps([(1, 2, 3, float("nan"))])), "NaN"),
        (_with("coords.pkl", pickle.dumps([(1, 2, 3, [4])])), "coords.pkl holds"),
        (_with("coords.pkl", pickle.dumps([(1, 2, 3, 4)])), "1 rectangles for 8 pictures"),
        (_with("coords.pkl", pickle.dumps([1])[:-3]), "damaged|cut off|truncated"),
        (_with("coords.pkl", b"\x80\x04\x95"), "damaged|cut off|truncated"),
        (_with("coords.pkl", b""), "damaged or cut off"),
        (_with("latents.pt", b"PK not a file"), "latents.pt"),
        (_tensor([torch.zeros(1, 8, 32, 32)]), "1 latents for 3 faces"),
        (_tensor({"a": torch.zeros(1)}), "0 latents for 3 faces"),
        (_tensor([torch.zeros(4, 32, 32)] * 3), r"\[4, 32, 32\]"),
        (_tensor([1, 2, 3]), "int where latents"),
        (_tensor([Evil()] * 3), "holds code"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(
    tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    folder = avatars.write(tmp_path / "a")
    spoil(folder)
    with pytest.raises(AvatarError, match=message) as caught:
        read_avatar(folder)
    assert "\n" not in str(caught.value)


def test_numbers_of_numpy_are_numbers() -> None:
    values = [np.int32(-5), np.float64(0.5), np.uint8(9), np.dtype(">i4").type(3), 4, 0.25]
    assert plain(pickle.dumps(values)) == [-5, 0.5, 9, 3, 4, 0.25]


@pytest.mark.parametrize(
    "value",
    [
        np.array([1, 2]),
        np.datetime64("2026-11-20"),
        np.complex64(1j),
        np.str_("text"),
        b"bytes",
        np.dtype("i4"),
    ],
)
def test_what_is_no_number_is_refused(value: Any) -> None:
    with pytest.raises(pickle.UnpicklingError):
        plain(pickle.dumps([value]))


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mask.png"
    cv2.imwrite(str(file), np.zeros((8, 9), np.uint8))
    assert read_mask(file, Edges(-2, 0, 7, 8)).shape == (8, 9)
    with pytest.raises(AvatarError, match="9x8 pixels, its rectangle 8x8"):
        read_mask(file, Edges(0, 0, 8, 8))
    with pytest.raises(AvatarError, match="missing or no picture"):
        read_mask(tmp_path / "none.png", Edges(0, 0, 8, 8))
