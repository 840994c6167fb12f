"""The contract of `LipSync`, on every backend."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from models.lipsync import viseme
from models.lipsync.base import FaceSample, LipItem, LipPatch, LipSync
from tests.unit.models.lipsync import hourglasses, muses
from tests.unit.models.lipsync.scenes import (
    FEATURES,
    Feature,
    cut,
    item,
    learned,
    picture,
    pose,
    samples,
)


@dataclass(frozen=True)
class Case:
    """A backend under test, features of its speech model, of which the first two speak differently,
    and by how many levels they change at least a hundred pixels (stand-in weights move little).
    """

    make: Callable[[], LipSync]
    features: Sequence[Feature]
    levels: int
    batch_invariant: bool = True


CASES: dict[str, Case] = {
    "viseme": Case(functools.cache(lambda: viseme.load("cpu", Path("weights"))), FEATURES, 40),
    "musetalk": Case(muses.backend_v1, muses.FEATURES, 8, batch_invariant=False),
    "musetalk-v1.5": Case(muses.backend, muses.FEATURES, 8, batch_invariant=False),
    "wav2lip": Case(hourglasses.backend, hourglasses.FEATURES, 8),
}


@pytest.fixture(params=sorted(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def backend(case: Case) -> LipSync:
    return case.make()


def work_of(case: Case, feature: int = 1, turn_deg: float = 0.0, x: float = 0.0) -> LipItem:
    return item(case.make(), case.features[feature], turn_deg, x)


def same(left: LipPatch, right: LipPatch) -> bool:
    return (
        (left.x, left.y) == (right.x, right.y)
        and np.array_equal(left.image, right.image)
        and np.array_equal(left.weight, right.weight)
    )


def near(left: LipPatch, right: LipPatch, case: Case) -> bool:
    """The same, or a level off in one value of a thousand where large networks round by batch."""
    if case.batch_invariant or left.image.shape != right.image.shape:
        return same(left, right)
    off = np.abs(left.image.astype(int) - right.image)
    return same(left, replace(right, image=left.image)) and off.max() <= 1 and off.mean() < 1e-3


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


def test_a_batch_equals_its_singles_in_order(case: Case, backend: LipSync) -> None:
    items = [work_of(case, i, 3.0 * i, i) for i in range(len(case.features))]
    together = backend.render(items)
    assert len(together) == len(items)
    for patch, single in zip(together, items, strict=True):
        assert near(patch, backend.render([single])[0], case)


def test_renders_the_same_twice(case: Case, backend: LipSync) -> None:
    assert same(backend.render([work_of(case)])[0], backend.render([work_of(case)])[0])


def test_the_patch_lies_in_the_crop_and_fades_to_its_border(case: Case, backend: LipSync) -> None:
    works = [work_of(case, i, 8.0) for i in range(len(case.features))]
    for work, patch in zip(works, backend.render(works), strict=True):
        check_patch(patch, work)


def check_patch(patch: LipPatch, work: LipItem) -> None:
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


def test_the_inputs_are_left_as_they_were(case: Case, backend: LipSync) -> None:
    work = work_of(case)
    before = work.crop.copy()
    backend.render([work])
    assert np.array_equal(work.crop, before)


def test_only_the_lower_face_changes(case: Case, backend: LipSync) -> None:
    work = work_of(case)
    (patch,) = backend.render([work])
    rows = np.flatnonzero(patch.weight.any(axis=1)) + patch.y
    eyes_px = work.pose.mouth_y_px - 0.25 * work.pose.size_px
    assert rows.min() > eyes_px


def test_the_feature_changes_the_mouth(case: Case, backend: LipSync) -> None:
    shut, wide = (backend.render([work_of(case, i)])[0] for i in (0, 1))
    assert shut.image.shape == wide.image.shape
    apart = np.abs(shut.image.astype(int) - wide.image.astype(int)).max(axis=2)
    assert (apart[shut.weight > 0.9] > case.levels).sum() > 100


def test_what_is_dumped_is_restored(case: Case, backend: LipSync) -> None:
    source = learned(backend)
    arrays = backend.dump(source)
    assert source is not None
    assert backend.restore(arrays) is not None
    assert all(isinstance(array, np.ndarray) and array.dtype != object for array in arrays.values())
    work = work_of(case)
    again = LipItem(work.crop, work.pose, work.feature, backend.restore(arrays))
    assert same(backend.render([work])[0], backend.render([again])[0])


def test_learning_twice_gives_the_same(backend: LipSync) -> None:
    first, second = (backend.dump(backend.learn(samples(backend, 3))) for _ in range(2))
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_learns_from_a_single_sample(case: Case, backend: LipSync) -> None:
    source = backend.learn(samples(backend, 1))
    work = work_of(case)
    (patch,) = backend.render([LipItem(work.crop, work.pose, work.feature, source)])
    assert patch.weight.max() > 0.9


def test_items_of_two_videos_do_not_mix(case: Case, backend: LipSync) -> None:
    dark = (picture() // 3).astype(np.uint8)
    crop, where = cut(dark, pose(), backend)
    other = backend.learn([FaceSample(crop, where, 0.0)])
    bright = work_of(case)
    dim = LipItem(crop, where, bright.feature, other)
    mixed = backend.render([bright, dim, bright])
    assert same(mixed[0], mixed[2])
    assert near(mixed[1], backend.render([dim])[0], case)
    assert not np.array_equal(mixed[0].image, mixed[1].image)


@pytest.mark.parametrize(("x", "y"), [(-190, 0), (190, 0), (0, 150), (-190, 150)])
def test_crops_that_were_padded_at_the_border_work(
    case: Case, backend: LipSync, x: float, y: float
) -> None:
    where = pose(2.0, 0, x, y)
    crop, inside = cut(picture(2.0, 0, x, y), where, backend)
    work = LipItem(crop, inside, work_of(case).feature, learned(backend))
    (patch,) = backend.render([work])
    assert patch.x + patch.weight.shape[1] <= crop.shape[1]
    assert patch.y + patch.weight.shape[0] <= crop.shape[0]


def test_tiny_faces_work(case: Case, backend: LipSync) -> None:
    crop, inside = cut(picture(0.2), pose(0.2), backend)
    work = LipItem(crop, inside, work_of(case).feature, learned(backend))
    (patch,) = backend.render([work])
    assert patch.weight.shape[0] <= crop.shape[0]


def test_a_wrong_feature_is_refused(case: Case, backend: LipSync) -> None:
    work = work_of(case)
    wrong = LipItem(work.crop, work.pose, np.zeros(999, np.float32), work.source)
    with pytest.raises(ValueError, match="999"):
        backend.render([wrong])


def test_learning_from_nothing_is_refused(backend: LipSync) -> None:
    with pytest.raises(ValueError, match="sample"):
        backend.learn([])
