"""Wav2Lip and the buckets of batch sizes on a real GPU: graphs, half precision, memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from models.lipsync import gate
from models.lipsync.buckets import Buckets
from models.lipsync.fused import Fused
from models.lipsync.wav2lip import Wav2Lip, masked
from tests.data import wav2lip
from tests.unit.models.lipsync import hourglasses
from tests.unit.models.lipsync.goldens import SMALL, numbers
from tests.unit.models.lipsync.scenes import item

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Float32 without TF32, as the goldens ask."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def run(network: Fused, mel: Tensor, faces: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(mel.cuda(), faces.cuda()).cpu()


def test_float32_gives_the_stored_picture() -> None:
    stored = numbers("wav2lip_generator", SMALL)
    network = Fused(wav2lip.state(), "cuda", torch.float32)
    faces = masked(torch.from_numpy(stored["faces"]))
    made = run(network, torch.from_numpy(stored["mel"]), faces)
    assert abs(made.numpy() - stored["output"]).max() < 2e-5


@pytest.mark.parametrize("dtype", gate.fast("cuda"))
def test_reduced_precision_keeps_forty_decibels(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(2)
    mel = 2 * torch.randn(4, 1, 80, 16, generator=generator)
    faces = torch.rand(4, 6, 96, 96, generator=generator)
    networks = (Fused(hourglasses.state(), "cuda", kind) for kind in (dtype, torch.float32))
    made, reference = (run(network, mel, faces) for network in networks)
    assert gate.psnr_db(made, reference) >= 40


def test_a_backend_of_graphs_paints_what_the_cpu_paints() -> None:
    backend = Wav2Lip("wav2lip", Fused(hourglasses.state(), "cuda", torch.float16), "cuda")
    backend.warm()
    items = [item(backend, hourglasses.FEATURES[i % 3], 3.0 * i, i) for i in range(5)]
    for there, here in zip(backend.render(items), hourglasses.backend().render(items), strict=True):
        apart = there.image.astype(float) - here.image
        assert 10 * np.log10(255**2 / (apart**2).mean()) > 40


def test_graphs_of_all_sizes_share_memory_and_give_the_networks_numbers() -> None:
    weight = torch.randn(64, 64, device="cuda")

    def network(x: Tensor) -> Tensor:
        return torch.relu(x @ weight) @ weight

    buckets = Buckets(network, (1, 4, 8), "cuda", [torch.zeros(1, 64)])
    buckets.warm()
    for rows in (8, 3, 1, 8, 20, 2):
        given = torch.randn(rows, 64)
        assert torch.allclose(buckets(given).cpu(), network(given.cuda()).cpu(), atol=1e-3)
