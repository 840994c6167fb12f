"""Latents on disk: kept, shared, and never believed when damaged."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from structlog.testing import capture_logs

from models.lipsync.muse.box import Edges
from models.lipsync.muse.store import LATENT_SHAPE, LatentStore

BOX = Edges(10, 20, 110, 150)


def latents(seed: int) -> NDArray[np.float16]:
    return np.random.default_rng(seed).standard_normal(LATENT_SHAPE).astype(np.float16)


def kept(store: LatentStore, frame: int, seed: int, box: Edges = BOX) -> None:
    store.put([frame], [box], latents(seed)[None])


def same(found: NDArray[np.float16] | None, seed: int) -> bool:
    return found is not None and np.array_equal(found, latents(seed))


def test_what_is_kept_is_found_by_another_store(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    kept(LatentStore(folder, "v"), 7, 1)
    found = LatentStore(folder, "v").get(7, BOX)
    assert found is not None
    assert np.array_equal(found, latents(1))


def test_nothing_is_found_before_it_is_kept(tmp_path: Path) -> None:
    store = LatentStore(tmp_path, "v")
    assert store.get(0, BOX) is None
    kept(store, 5, 1)
    assert store.get(4, BOX) is None
    assert store.get(6, BOX) is None


def test_another_rectangle_or_encoder_is_not_found(tmp_path: Path) -> None:
    kept(LatentStore(tmp_path, "v"), 0, 1)
    assert LatentStore(tmp_path, "v").get(0, BOX.moved(1, 0)) is None
    assert LatentStore(tmp_path, "other").get(0, BOX) is None


def test_frames_do_not_touch_each_other(tmp_path: Path) -> None:
    store = LatentStore(tmp_path, "v")
    for frame in (3, 1, 2):
        kept(store, frame, frame)
    for frame in (1, 2, 3):
        assert same(store.get(frame, BOX), frame)


@pytest.mark.parametrize("at", [0, 5, 12, 64, 9000])
def test_a_damaged_slot_is_not_found_and_can_be_kept_again(tmp_path: Path, at: int) -> None:
    store = LatentStore(tmp_path, "v")
    kept(store, 0, 1)
    kept(store, 1, 2)
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    data[at] ^= 0x55
    file.write_bytes(data)
    assert store.get(0, BOX) is None
    assert store.get(1, BOX) is not None
    kept(store, 0, 3)
    assert same(store.get(0, BOX), 3)


def test_a_file_that_was_cut_off_is_not_found(tmp_path: Path) -> None:
    store = LatentStore(tmp_path, "v")
    kept(store, 0, 1)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:5000])
    assert store.get(0, BOX) is None


def test_a_folder_that_cannot_be_written_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = LatentStore(tmp_path / "file", "v")
    with capture_logs() as logs:
        kept(store, 0, 1)
        kept(store, 1, 1)
    assert [log["event"] for log in logs] == ["latents not kept"]
    assert store.get(0, BOX) is None


def test_a_frame_beyond_all_videos_is_not_kept(tmp_path: Path) -> None:
    store = LatentStore(tmp_path, "v")
    kept(store, 10**12, 1)
    assert store.get(10**12, BOX) is None


def _write(folder: Path, first: int) -> None:
    store = LatentStore(folder, "v")
    for frame in range(first, 200, 2):
        kept(store, frame, frame)


def test_two_processes_fill_one_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_write, args=(tmp_path, first)) for first in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    store = LatentStore(tmp_path, "v")
    for frame in range(200):
        assert same(store.get(frame, BOX), frame)
