"""The MuseTalk backends: latents kept per frame, avatars, files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.lipsync import musetalk
from models.lipsync.base import Image, LipItem, LipPatch, Rect
from models.lipsync.muse import blend, files
from models.lipsync.muse.avatar import Avatar, AvatarFace
from models.lipsync.muse.box import BoxRule, Edges, pose_box
from models.lipsync.muse.chain import Chain, Published
from models.lipsync.muse.imported import keep
from models.lipsync.muse.store import LATENT_SHAPE
from models.lipsync.musetalk import V1, V15, MuseTalk, Source, Version
from models.weights import WeightsError
from tests.data import musetalk as small
from tests.unit.models.lipsync import muses
from tests.unit.models.lipsync.scenes import cut, picture, pose


class Counting:
    """The small networks, counting what they encode."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self.encoded = 0
        self.sound_width, self.fingerprint = chain.sound_width, chain.fingerprint

    def encode(self, faces: Sequence[Image]) -> NDArray[np.float16]:
        self.encoded += len(faces)
        return self._chain.encode(faces)

    def speak(self, latents: NDArray[np.float16], sound: NDArray[np.float32]) -> torch.Tensor:
        return self._chain.speak(latents, sound)


@pytest.fixture
def counting() -> Counting:
    return Counting(muses.chain())


@pytest.fixture
def backend(counting: Counting) -> MuseTalk:
    return MuseTalk(V15, counting)  # type: ignore[arg-type]


def work(backend: MuseTalk, source: Any, frame: int = 0, x: float = 0.0) -> LipItem:
    """A face in its frame's crop, placed as the pipeline places it."""
    where = pose(2.0, 0, x)
    box = backend.crop_box(where)
    crop, inside = cut(picture(2.0, 0, x), where, backend)
    return LipItem(crop, inside, muses.sound(1), source, frame, box.x, box.y)


def same(left: LipPatch, right: LipPatch) -> bool:
    """Equal but for a level where a batch of another size rounds another way."""
    if (left.x, left.y, left.image.shape) != (right.x, right.y, right.image.shape):
        return False
    return int(np.abs(left.image.astype(int) - right.image).max()) <= 1


def test_a_frame_is_encoded_once_for_all_jobs(
    backend: MuseTalk, counting: Counting, tmp_path: Path
) -> None:
    first = backend.attach(Source(), tmp_path)
    items = [work(backend, first, 0), work(backend, first, 1, 4.0)]
    made = backend.render(items)
    assert counting.encoded == 2
    other = backend.attach(Source(), tmp_path)
    again = backend.render([replace(item, source=other) for item in items])
    assert counting.encoded == 2
    assert all(same(*pair) for pair in zip(made, again, strict=True))


def test_only_what_is_lacking_is_encoded(
    backend: MuseTalk, counting: Counting, tmp_path: Path
) -> None:
    source = backend.attach(Source(), tmp_path)
    known, new = work(backend, source, 0), work(backend, source, 5, 4.0)
    alone = backend.render([new])[0]
    backend.render([known])
    assert counting.encoded == 2
    together = backend.render([known, new, known])
    assert counting.encoded == 2
    assert same(together[1], alone)


def test_a_face_in_another_place_is_encoded_anew(
    backend: MuseTalk, counting: Counting, tmp_path: Path
) -> None:
    """The same frame number may come with another pose, from another detector."""
    source = backend.attach(Source(), tmp_path)
    one = work(backend, source, 0)
    backend.render([one])
    backend.render([replace(one, left_px=one.left_px + 3)])
    assert counting.encoded == 2


def test_damaged_latents_are_made_again(
    backend: MuseTalk, counting: Counting, tmp_path: Path
) -> None:
    source = backend.attach(Source(), tmp_path)
    before = backend.render([work(backend, source)])[0]
    (file,) = tmp_path.iterdir()
    data = bytearray(file.read_bytes())
    data[4000] ^= 0xFF
    file.write_bytes(data)
    assert same(backend.render([work(backend, source)])[0], before)
    assert counting.encoded == 2


def test_without_a_folder_every_frame_is_encoded(backend: MuseTalk, counting: Counting) -> None:
    source = Source()
    for _ in range(2):
        backend.render([work(backend, source)])
    assert counting.encoded == 2


def avatar_at(box: Edges, mask: Path | None = None, around: Edges | None = None) -> Avatar:
    latents = np.random.default_rng(2).standard_normal(LATENT_SHAPE).astype(np.float16)
    return Avatar((), (AvatarFace(box, latents, around, mask), None), "v15")


def test_an_avatars_own_latents_and_rectangle_are_used(
    backend: MuseTalk, counting: Counting, tmp_path: Path
) -> None:
    plain = backend.render([work(backend, Source())])[0]
    box = pose_box(pose(2.0), BoxRule()).moved(3, 2)
    keep(avatar_at(box), tmp_path, V15.name)
    source = backend.attach(Source(), tmp_path)
    encoded = counting.encoded
    (patch,) = backend.render([work(backend, source)])
    assert counting.encoded == encoded
    assert not same(patch, plain)
    backend.render([work(backend, source, 1)])
    assert counting.encoded == encoded + 1


def test_an_avatars_mask_is_used(backend: MuseTalk, tmp_path: Path) -> None:
    box = pose_box(pose(2.0), BoxRule())
    around = blend.square(box)
    mask = np.zeros((around.height, around.width), np.uint8)
    mask[-60:-40, 50:90] = 200
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    keep(avatar_at(box, tmp_path / "mask.png", around), tmp_path, V15.name)
    source = backend.attach(Source(), tmp_path)
    (patch,) = backend.render([work(backend, source)])
    assert patch.weight.shape == (22, 42)
    assert patch.weight.max() == np.float32(200 / 255)


def test_an_avatars_rectangle_beyond_the_crop_is_not_used(
    backend: MuseTalk, counting: Counting, tmp_path: Path
) -> None:
    keep(avatar_at(Edges(0, 0, 3000, 3000)), tmp_path, V15.name)
    source = backend.attach(Source(), tmp_path)
    backend.render([work(backend, source)])
    assert counting.encoded == 1


def test_landmarks_give_the_rectangle_of_the_pose() -> None:
    marks = small.landmarks("here")
    where = replace(pose(), landmarks=marks)
    box = pose_box(where, BoxRule(chin_px=10))
    low = int(marks[:, 1].max())
    assert (box.left, box.right, box.bottom) == (
        int(marks[:, 0].min()),
        int(marks[:, 0].max()),
        low + 10,
    )
    assert box.top == 2 * int(marks[29, 1]) - low
    assert where.moved(5, 7).landmarks is not None


def test_landmarks_that_give_no_rectangle_leave_the_estimate() -> None:
    where = replace(pose(), landmarks=np.full((68, 2), 50, np.float32))
    assert pose_box(where, BoxRule()) == pose_box(pose(), BoxRule())


def test_the_face_rectangle_gives_the_estimate_where_it_is_known() -> None:
    where = replace(pose(), face=Rect(100, 50, 200, 190))
    box = pose_box(where, BoxRule(chin_px=10))
    assert box == Edges(94, 32, 206, 194 + 6)


def test_the_shift_moves_the_upper_edge_twice_as_far() -> None:
    plain, moved = (pose_box(pose(), BoxRule(shift_px=shift)) for shift in (0, 6))
    assert moved.top - plain.top == 12
    assert moved.bottom == plain.bottom


def test_a_source_of_another_version_is_refused(backend: MuseTalk) -> None:
    with pytest.raises(ValueError, match="version 9"):
        backend.restore({"version": np.array(9)})


@pytest.mark.parametrize("crop", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 3), np.float32)])
def test_what_is_no_picture_is_refused(backend: MuseTalk, crop: np.ndarray) -> None:
    item = work(backend, Source())
    with pytest.raises(ValueError, match="uint8"):
        backend.render([replace(item, crop=crop)])


def test_versions_differ_in_the_chin_and_the_mask() -> None:
    v1, v15 = MuseTalk(V1, muses.chain()), MuseTalk(V15, muses.chain())
    assert (v1.name, v15.name) == ("musetalk", "musetalk-v1.5")
    assert v15.crop_box(pose()).height > v1.crop_box(pose()).height


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are loaded at the small width."""

    def published(unet: Any, vae: Any, unet_file: str, vae_file: str) -> Published:
        return Published(unet, vae, unet_file, vae_file, small.UNET, small.VAE)

    monkeypatch.setattr(files, "Published", published)
    monkeypatch.setattr("models.lipsync.gate.fast", lambda device: ())


OLD = (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn"))


def old_names() -> dict[str, torch.Tensor]:
    """The autoencoder as its raw file names it."""
    state = {}
    for key, tensor in small.vae_state().items():
        for new, old in OLD:
            key = key.replace(f".attentions.0.{new}.", f".attentions.0.{old}.")
        state[key] = tensor
    return state


@pytest.mark.parametrize(
    ("load", "version", "unet", "vae", "state"),
    [
        (musetalk.load_v1, V1, "musetalk/pytorch_model.bin", "sd-vae", small.vae_state),
        (musetalk.load_v15, V15, "musetalkV15/unet.pth", "sd-vae-ft-mse", old_names),
    ],
)
@pytest.mark.usefixtures("small_networks")
def test_published_directories_are_loaded(
    tmp_path: Path, load: Any, version: Version, unet: str, vae: str, state: Any
) -> None:
    (tmp_path / unet).parent.mkdir()
    torch.save(small.unet_state(), tmp_path / unet)
    (tmp_path / vae).mkdir()
    torch.save(state(), tmp_path / vae / "diffusion_pytorch_model.bin")
    loaded = load("cpu", tmp_path)
    item = work(loaded, Source())
    assert same(loaded.render([item])[0], MuseTalk(version, muses.chain()).render([item])[0])


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"unet.pth is missing in .*musetalkV15"):
        musetalk.load_v15("cpu", tmp_path)
    (tmp_path / "musetalk").mkdir()
    torch.save(small.unet_state(), tmp_path / "musetalk" / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"diffusion_pytorch_model.bin is missing in .*sd-vae"):
        musetalk.load_v1("cpu", tmp_path)


def test_a_file_of_another_width_is_refused(tmp_path: Path) -> None:
    (tmp_path / "musetalk").mkdir()
    (tmp_path / "sd-vae").mkdir()
    torch.save(small.unet_state(), tmp_path / "musetalk" / "pytorch_model.bin")
    torch.save(small.vae_state(), tmp_path / "sd-vae" / "diffusion_pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"'conv_in.weight' has the shape \[8, 8, 3, 3\]"):
        musetalk.load_v1("cpu", tmp_path)
