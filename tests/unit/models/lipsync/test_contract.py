"""The contract of `LipSync`, on every backend."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from models.lipsync import viseme
from models.lipsync.base import FaceSample, LipItem, LipPatch, LipSync
from tests.unit.models.lipsync.scenes import (
    FEATURES,
    OPEN,
    cut,
    item,
    learned,
    picture,
    pose,
    samples,
)

MAKERS: dict[str, Callable[[], LipSync]] = {
    "viseme": functools.cache(lambda: viseme.load("cpu", Path("weights")))
}


@pytest.fixture(params=sorted(MAKERS))
def backend(request: pytest.FixtureRequest) -> LipSync:
    return MAKERS[request.param]()


def same(left: LipPatch, right: LipPatch) -> bool:
    return (
        (left.x, left.y) == (right.x, right.y)
        and np.array_equal(left.image, right.image)
        and np.array_equal(left.weight, right.weight)
    )


def test_names_itself_and_its_speech_model(backend: LipSync) -> None:
    assert backend.name
    assert backend.speech
    assert backend.max_batch >= 1


def test_the_crop_holds_the_mouth(backend: LipSync) -> None:
    where = pose(2.0, 10)
    box = backend.crop_box(where)
    assert box.x < where.mouth_x_px - where.mouth_px / 2
    assert box.x + box.width > where.mouth_x_px + where.mouth_px / 2
    assert box.y < where.mouth_y_px < box.y + box.height


def test_the_crop_moves_and_grows_with_the_face(backend: LipSync) -> None:
    small, large = backend.crop_box(pose(1.0)), backend.crop_box(pose(3.0))
    assert large.width == pytest.approx(3 * small.width, abs=6)
    moved = backend.crop_box(pose(1.0).moved(40, -7))
    assert (moved.x, moved.y) == (small.x + 40, small.y - 7)


def test_a_batch_equals_its_singles_in_order(backend: LipSync) -> None:
    items = [item(backend, values, 3.0 * i, i) for i, values in enumerate(FEATURES)]
    together = backend.render(items)
    assert len(together) == len(items)
    for patch, single in zip(together, items, strict=True):
        assert same(patch, backend.render([single])[0])


def test_renders_the_same_twice(backend: LipSync) -> None:
    assert same(backend.render([item(backend)])[0], backend.render([item(backend)])[0])


@pytest.mark.parametrize("values", FEATURES)
def test_the_patch_lies_in_the_crop_and_fades_to_its_border(
    backend: LipSync, values: tuple[float, ...]
) -> None:
    work = item(backend, values, 8.0)
    (patch,) = backend.render([work])
    height, width = patch.weight.shape
    assert patch.image.shape == (height, width, 3)
    assert patch.image.dtype == np.uint8
    assert patch.weight.dtype == np.float32
    assert patch.x >= 0
    assert patch.y >= 0
    assert patch.x + width <= work.crop.shape[1]
    assert patch.y + height <= work.crop.shape[0]
    assert patch.weight.min() >= 0
    assert patch.weight.max() <= 1
    assert patch.weight.max() > 0.9
    border = [patch.weight[0], patch.weight[-1], patch.weight[:, 0], patch.weight[:, -1]]
    assert all(not edge.any() for edge in border)


def test_the_inputs_are_left_as_they_were(backend: LipSync) -> None:
    work = item(backend)
    before = work.crop.copy()
    backend.render([work])
    assert np.array_equal(work.crop, before)


def test_only_the_lower_face_changes(backend: LipSync) -> None:
    work = item(backend)
    (patch,) = backend.render([work])
    rows = np.flatnonzero(patch.weight.any(axis=1)) + patch.y
    eyes_px = work.pose.mouth_y_px - 0.25 * work.pose.size_px
    assert rows.min() > eyes_px


def test_the_feature_changes_the_mouth(backend: LipSync) -> None:
    shut, wide = (backend.render([item(backend, values)])[0] for values in (FEATURES[0], OPEN))
    assert shut.image.shape == wide.image.shape
    apart = np.abs(shut.image.astype(int) - wide.image.astype(int)).max(axis=2)
    assert (apart[shut.weight > 0.9] > 40).sum() > 100


def test_what_is_dumped_is_restored(backend: LipSync) -> None:
    arrays = backend.dump(learned(backend))
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays.values())
    work = item(backend)
    again = LipItem(work.crop, work.pose, work.feature, backend.restore(arrays))
    assert same(backend.render([work])[0], backend.render([again])[0])


def test_learning_twice_gives_the_same(backend: LipSync) -> None:
    first, second = (backend.dump(backend.learn(samples(backend, 3))) for _ in range(2))
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_learns_from_a_single_sample(backend: LipSync) -> None:
    source = backend.learn(samples(backend, 1))
    work = item(backend)
    (patch,) = backend.render([LipItem(work.crop, work.pose, work.feature, source)])
    assert patch.weight.max() > 0.9


def test_items_of_two_videos_do_not_mix(backend: LipSync) -> None:
    dark = (picture() // 3).astype(np.uint8)
    crop, where = cut(dark, pose(), backend)
    other = backend.learn([FaceSample(crop, where, 0.0)])
    bright = item(backend)
    dim = LipItem(crop, where, bright.feature, other)
    mixed = backend.render([bright, dim, bright])
    assert same(mixed[0], mixed[2])
    assert same(mixed[1], backend.render([dim])[0])
    assert mixed[1].image.mean() < 0.6 * mixed[0].image.mean()


@pytest.mark.parametrize(("x", "y"), [(-190, 0), (190, 0), (0, 150), (-190, 150)])
def test_crops_that_were_padded_at_the_border_work(backend: LipSync, x: float, y: float) -> None:
    where = pose(2.0, 0, x, y)
    crop, inside = cut(picture(2.0, 0, x, y), where, backend)
    work = LipItem(crop, inside, item(backend).feature, learned(backend))
    (patch,) = backend.render([work])
    assert patch.x + patch.weight.shape[1] <= crop.shape[1]
    assert patch.y + patch.weight.shape[0] <= crop.shape[0]


def test_tiny_faces_work(backend: LipSync) -> None:
    crop, inside = cut(picture(0.2), pose(0.2), backend)
    work = LipItem(crop, inside, item(backend).feature, learned(backend))
    (patch,) = backend.render([work])
    assert patch.weight.shape[0] <= crop.shape[0]


def test_a_wrong_feature_is_refused(backend: LipSync) -> None:
    work = item(backend)
    wrong = LipItem(work.crop, work.pose, np.zeros(999, np.float32), work.source)
    with pytest.raises(ValueError, match="999"):
        backend.render([wrong])


def test_learning_from_nothing_is_refused(backend: LipSync) -> None:
    with pytest.raises(ValueError, match="sample"):
        backend.learn([])
